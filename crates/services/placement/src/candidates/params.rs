//! The little languages inside query values: `VCPU:2,DISK_GB:10`, `in:TRAIT_A,TRAIT_B`, `!in:uuid,uuid`.

use base::{Error, Result, id};
use oslo_http::{Query, Req};
use std::collections::BTreeMap;

/// What a provider has to be like, beside having resources.
#[derive(Clone, Debug, Default)]
pub struct Qualities {
    /// Of each list at least one trait.
    pub required: Vec<Vec<String>>,
    pub forbidden: Vec<String>,
    /// Of each list at least one aggregate.
    pub member_of: Vec<Vec<String>>,
    pub not_member_of: Vec<String>,
}

impl Qualities {
    pub fn trait_names(&self) -> impl Iterator<Item = &String> {
        self.required.iter().flatten().chain(&self.forbidden)
    }

    /// Traits that are asked for and forbidden at once.
    pub fn contradictions(&self) -> Vec<&str> {
        let plain = self.required.iter().filter(|any| any.len() == 1).flatten();
        let mut both: Vec<&str> = plain
            .filter(|t| self.forbidden.contains(t))
            .map(String::as_str)
            .collect();
        both.sort_unstable();
        both.dedup();
        both
    }
}

fn bad_value(message: String) -> Error {
    Error::bad_request(message).class("placement.query.bad_value")
}

/// `VCPU:2,MEMORY_MB:1024`.
pub fn resources(text: &str) -> Result<BTreeMap<String, i64>> {
    let form = "Badly formed resources parameter. Expected resources query string parameter in form: \
                ?resources=VCPU:2,MEMORY_MB:1024. Got:";
    if text.trim().is_empty() {
        return Err(bad_value(format!("{form} empty string.")));
    }
    let mut found = BTreeMap::new();
    for part in text.split(',') {
        let Some((class, amount)) = part.split_once(':') else {
            return Err(bad_value(format!("{form} {part}.")));
        };
        let number: i64 = amount.trim().parse().map_err(|_| {
            bad_value(format!(
                "Requested resource {class} expected positive integer amount. Got: {amount}."
            ))
        })?;
        if number < 1 {
            return Err(bad_value(format!(
                "Requested resource {class} requires amount >= 1. Got: {number}."
            )));
        }
        found.insert(class.to_string(), number);
    }
    Ok(found)
}

/// One value of `required`, added to what is there.
pub fn required(req: &Req, text: &str, into: &mut Qualities) -> Result<()> {
    let (forbid, anyof) = (req.at_least(1, 22), req.at_least(1, 39));
    let form = if forbid {
        "HW_CPU_X86_VMX,!CUSTOM_MAGIC"
    } else {
        "HW_CPU_X86_VMX,CUSTOM_MAGIC"
    };
    let bad = || {
        bad_value(format!(
            "Invalid query string parameters: Expected 'required' parameter value of the form: {form}. Got: {text}"
        ))
    };
    if let Some(list) = text.strip_prefix("in:") {
        if !anyof {
            return Err(bad_value(
                "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only \
                 supported since microversion 1.39."
                    .to_string(),
            ));
        }
        let names: Vec<String> = list.split(',').map(|t| t.trim().to_string()).collect();
        if names.iter().any(|n| n.is_empty() || n.starts_with('!')) {
            return Err(bad());
        }
        into.required.push(names);
        return Ok(());
    }
    for name in text.split(',').map(str::trim) {
        match name.strip_prefix('!') {
            Some(rest) if forbid && is_trait(rest) => into.forbidden.push(rest.to_string()),
            None if is_trait(name) => into.required.push(vec![name.to_string()]),
            _ => return Err(bad()),
        }
    }
    Ok(())
}

fn is_trait(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('!') && !name.contains(':')
}

/// All values of a `member_of` key.
pub fn member_of<'a>(
    req: &Req,
    values: impl Iterator<Item = &'a str>,
    into: &mut Qualities,
) -> Result<()> {
    let values: Vec<&str> = values.collect();
    if values.len() > 1 && !req.at_least(1, 24) {
        return Err(bad_value(
            "Multiple member_of parameters are not supported".to_string(),
        ));
    }
    for value in values {
        let (forbidden, rest) = match value.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        if forbidden && !req.at_least(1, 32) {
            return Err(bad_value(
                "Forbidden member_of parameters are not supported in the specified microversion"
                    .to_string(),
            ));
        }
        let list: Vec<&str> = match rest.strip_prefix("in:") {
            Some(list) => list.split(',').collect(),
            None if rest.contains(',') => {
                return Err(bad_value(
                    "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword \
                     using the valid microversion."
                        .to_string(),
                ));
            }
            None => vec![rest],
        };
        let mut ids = Vec::new();
        for text in list {
            ids.push(id::parse_uuid(text).map_err(|_| {
                bad_value(
                    "Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s)."
                        .to_string(),
                )
            })?);
        }
        if forbidden {
            into.not_member_of.extend(ids);
        } else {
            into.member_of.push(ids);
        }
    }
    Ok(())
}

/// A `in_tree` value.
pub fn in_tree(text: &str) -> Result<String> {
    id::parse_uuid(text).map_err(|_| {
        bad_value(format!(
            "Invalid query string parameters: Expected 'in_tree' parameter to be a format of uuid. Got: {text}"
        ))
    })
}

/// `required` may be repeated from 1.39 on; before, the last one counts.
pub fn required_values<'a>(req: &Req, query: &'a Query, key: &'a str) -> Vec<&'a str> {
    if req.at_least(1, 39) {
        query.all(key).collect()
    } else {
        query.get(key).into_iter().collect()
    }
}
