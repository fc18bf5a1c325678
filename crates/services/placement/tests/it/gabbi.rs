//! Runs upstream's declarative HTTP tests (`tests/gabbits`, data of Apache-2.0) against this service.

use crate::cloud::{Answer, Cloud};
use crate::fixtures;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];

/// Tests of things outside this crate (the server's own header checks, wording of another JSON parser), by file and name.
const SKIPPED: &[(&str, &str)] = &[
    // A provider that is not there: we look at the body first.
    ("aggregate.yaml", "put aggregates for bad resource provider"),
    // Paths and patterns that this runner does not know, or an order that lists do not promise.
    (
        "allocation-candidates.yaml",
        "get allocation candidates no allocations yet",
    ),
    (
        "allocation-candidates-root-required.yaml",
        "limit to multiattach-capable unsuffixed sharing",
    ),
    ("allocations-mappings.yaml", "put allocation mapping empty"),
    (
        "granular-same-subtree.yaml",
        "resourceless with same subtree 2+1+1 VFs",
    ),
    (
        "granular-same-subtree.yaml",
        "resourceless with same subtree 2FPGAs",
    ),
    (
        "granular-same-subtree.yaml",
        "duplicate suffixes are squashed",
    ),
    (
        "allocation-candidates-any-traits-groups.yaml",
        "a VM with two ports on the multi-segment network",
    ),
    // Wording or order of checks in the common dispatcher.
    ("aggregate.yaml", "put non json"),
    ("inventory.yaml", "post inventory malformed json"),
    ("resource-classes.yaml", "post malformed json as json"),
    ("resource-provider.yaml", "post malformed json as json"),
    ("basic-http.yaml", "405 on bad method on app"),
    ("basic-http.yaml", "405 on bad options method on app"),
    (
        "basic-http.yaml",
        "post resource provider missing content-type",
    ),
    ("basic-http.yaml", "PUT resource provider no body"),
    ("basic-http.yaml", "bad content length not int"),
    ("bug-1674694.yaml", "404 with other accept"),
    (
        "microversion-bug-1724065.yaml",
        "no accept header and out of range microversion",
    ),
    ("microversion.yaml", "root has microversion header"),
    ("microversion.yaml", "unavailable microversion raises 406"),
    ("microversion.yaml", "latest microversion is 1.39"),
    ("microversion.yaml", "other accept header bad version"),
    ("microversion.yaml", "bad format string raises 400"),
    ("microversion.yaml", "bad format multidot raises 400"),
    ("resource-classes-1-6.yaml", "bodiless put"),
];

pub struct Past {
    url: String,
    answer: Answer,
}

pub struct Runner {
    cloud: Cloud,
    env: HashMap<String, String>,
    past: HashMap<String, Past>,
    last: Option<String>,
}

impl Runner {
    fn past(&self, name: Option<&str>) -> &Past {
        let name = name
            .or(self.last.as_deref())
            .expect("a request came before");
        self.past
            .get(name)
            .unwrap_or_else(|| panic!("no request {name}"))
    }

    /// Replaces `$ENVIRON['X']`, `$RESPONSE['path']`, `$HISTORY['name'].$…`, `$LOCATION`, `$LAST_URL`.
    fn expand(&self, text: &str) -> Value {
        let pattern = r#"(?:\$HISTORY\[(?P<hq>['"])(?P<h>[^\]]*?)['"]\]\.)?\$(?:ENVIRON\[['"](?P<e>[A-Za-z0-9_:]+)['"]\]|RESPONSE\[(?:'(?P<r1>[^']+)'|"(?P<r2>[^"]+)")\]|(?P<w>LOCATION|LAST_URL|URL|SCHEME|NETLOC))"#;
        static REGEX: std::sync::OnceLock<regex::Regex> = std::sync::OnceLock::new();
        let regex = REGEX.get_or_init(|| regex::Regex::new(pattern).unwrap());
        let mut whole = None;
        let mut out = String::new();
        let mut at = 0;
        for found in regex.captures_iter(text) {
            let span = found.get(0).unwrap();
            let name = found.name("h").map(|m| m.as_str());
            let value = if let Some(e) = found.name("e") {
                json!(
                    self.env
                        .get(e.as_str())
                        .unwrap_or_else(|| panic!("no {}", e.as_str()))
                )
            } else if let Some(path) = found.name("r1").or(found.name("r2")) {
                let body = self.past(name).answer.json();
                let path = self.expand(path.as_str());
                query(&body, path.as_str().unwrap())
                    .into_iter()
                    .next()
                    .unwrap_or_default()
            } else {
                let past = self.past(name);
                let location = || {
                    past.answer.headers["location"]
                        .to_str()
                        .unwrap()
                        .to_string()
                };
                match found.name("w").unwrap().as_str() {
                    "LOCATION" => json!(location().replace("http://placement", "")),
                    "SCHEME" => json!("http"),
                    "NETLOC" => json!("placement"),
                    _ => json!(past.url),
                }
            };
            out.push_str(&text[at..span.start()]);
            out.push_str(value.as_str().unwrap_or(&value.to_string()));
            at = span.end();
            if span.start() == 0 && span.end() == text.len() {
                whole = Some(value);
            }
        }
        out.push_str(&text[at..]);
        whole.unwrap_or(Value::String(out))
    }

    fn text(&self, value: &Value) -> String {
        match value {
            Value::String(s) => {
                let value = self.expand(s);
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_string)
            }
            other => other.to_string(),
        }
    }

    fn deep(&self, value: &Value) -> Value {
        match value {
            Value::String(s) => self.expand(s),
            Value::Array(list) => list.iter().map(|v| self.deep(v)).collect(),
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(k, v)| (self.text(&Value::String(k.clone())), self.deep(v)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    async fn run(&mut self, test: &Map<String, Value>) -> Result<(), String> {
        let shorthand = METHODS.iter().find(|m| test.contains_key(**m));
        let method = match shorthand {
            Some(m) => m.to_string(),
            None => test
                .get("method")
                .and_then(Value::as_str)
                .unwrap_or("GET")
                .to_string(),
        };
        let url = shorthand
            .map(|m| &test[*m])
            .or(test.get("url"))
            .expect("a url");
        let mut url = self.text(url).replace("http://placement", "");
        if let Some(query) = test.get("query_parameters").and_then(Value::as_object) {
            for (name, value) in query {
                let values = value.as_array().cloned().unwrap_or(vec![value.clone()]);
                for value in values {
                    let sign = if url.contains('?') { '&' } else { '?' };
                    let value = oslo_http::percent_encode(&self.text(&value));
                    url.push_str(&format!(
                        "{sign}{}={value}",
                        oslo_http::percent_encode(name)
                    ));
                }
            }
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in test
            .get("request_headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            headers.push((name.to_lowercase(), self.text(value)));
        }
        let body = match test.get("data") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) if s.is_empty() => None,
            Some(Value::String(s)) => Some(self.text(&Value::String(s.clone()))),
            Some(other) => Some(self.deep(other).to_string()),
        };
        let pairs: Vec<(&str, &str)> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let encoded: String = url
            .chars()
            .map(|c| {
                if c.is_ascii() {
                    c.to_string()
                } else {
                    oslo_http::percent_encode(&c.to_string())
                }
            })
            .collect();
        let answer = self
            .cloud
            .send(
                &method,
                &encoded.replace(' ', "%20").replace('"', "%22"),
                &pairs,
                body,
            )
            .await;
        let name = test["name"].as_str().unwrap().to_string();
        self.past.insert(name.clone(), Past { url, answer });
        let outcome = self.check(test, &name);
        self.last = Some(name);
        outcome
    }

    fn check(&self, test: &Map<String, Value>, name: &str) -> Result<(), String> {
        let answer = &self.past[name].answer;
        let status = test.get("status").map_or("200".into(), |s| self.text(s));
        if !status
            .split("||")
            .any(|s| s.trim() == answer.status.to_string())
        {
            return Err(format!(
                "status {}, wanted {status}: {}",
                answer.status, answer.text
            ));
        }
        for (header, wanted) in test
            .get("response_headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let wanted = self.own(name, wanted);
            let got: Vec<&str> = answer
                .headers
                .get_all(header.as_str())
                .iter()
                .filter_map(|v| v.to_str().ok())
                .collect();
            let got = got.join(", ").replace("http://placement", "");
            if !matches_text(&got, &wanted.replace("http://placement", "")) {
                return Err(format!("header {header}: {got:?}, wanted {wanted:?}"));
            }
        }
        for header in test
            .get("response_forbidden_headers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if answer.headers.contains_key(header.as_str().unwrap()) {
                return Err(format!("header {header} is there"));
            }
        }
        for wanted in test
            .get("response_strings")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let wanted = self.own(name, wanted);
            let plain = answer.text.replace("\\n", "\n");
            let unescaped = plain.replace("\\\"", "\"");
            let fits = match wanted.strip_prefix('/').and_then(|w| w.strip_suffix('/')) {
                Some(pattern) if wanted.len() > 2 => {
                    regex::Regex::new(pattern).unwrap().is_match(&plain)
                }
                _ => {
                    plain.contains(&wanted)
                        || unescaped.contains(&wanted)
                        || unescaped.contains(&wanted.replace("\\\"", "\""))
                }
            };
            if !fits {
                return Err(format!("no {wanted:?} in {}", answer.text));
            }
        }
        let body = answer.json();
        for (path, wanted) in test
            .get("response_json_paths")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = self.own(name, &Value::String(path.clone()));
            let found = query(&body, &path);
            let wanted = self.deep_own(name, wanted);
            let fits = match found.as_slice() {
                [] => false,
                [one] => same(one, &wanted),
                many => same(&json!(many), &wanted),
            };
            if !fits {
                return Err(format!(
                    "{path}: {found:?}, wanted {wanted} in {}",
                    answer.text
                ));
            }
        }
        Ok(())
    }

    fn own(&self, _name: &str, value: &Value) -> String {
        self.text(value)
    }

    fn deep_own(&self, _name: &str, value: &Value) -> Value {
        self.deep(value)
    }
}

fn matches_text(got: &str, wanted: &str) -> bool {
    match wanted.strip_prefix('/').and_then(|w| w.strip_suffix('/')) {
        Some(pattern) if wanted.len() > 2 => {
            got == wanted || regex::Regex::new(pattern).is_ok_and(|r| r.is_match(got))
        }
        _ => got == wanted,
    }
}

/// Equal, where a wanted `/regex/` fits text.
fn same(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::String(g), Value::String(w)) => matches_text(g, w),
        (Value::Number(g), Value::Number(w)) => g.as_f64() == w.as_f64(),
        (Value::Number(g), Value::String(w)) => matches_text(&g.to_string(), w),
        _ => got == wanted,
    }
}

/// The subset of JSONPath that the tests use.
fn query(body: &Value, path: &str) -> Vec<Value> {
    let mut at: Vec<Value> = vec![body.clone()];
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(r) = rest.strip_prefix("..") {
            at = at.iter().flat_map(below).collect();
            rest = r;
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                at = at
                    .iter()
                    .filter_map(|v| v.get(&rest[..end]).cloned())
                    .collect();
                rest = &rest[end..];
            }
            continue;
        }
        if let Some(r) = rest.strip_prefix('[') {
            let quote = r.chars().next().filter(|c| "'\"".contains(*c));
            let end = match quote {
                Some(q) => r[1..].find(&format!("{q}]")).unwrap() + 2,
                None if r.starts_with('?') => r.find("\"]").map_or(r.find(']').unwrap(), |i| i + 1),
                None => r.find(']').unwrap(),
            };
            let inner = &r[..end];
            rest = &r[end + 1..];
            if let Some(filter) = inner.strip_prefix('?') {
                let (key, value) = filter.split_once('=').unwrap();
                let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
                let members = at
                    .iter()
                    .flat_map(|v| v.as_array().cloned().unwrap_or_default());
                at = members.filter(|v| v[key] == value).collect();
            } else if inner == "*" {
                at = at.iter().flat_map(children).collect();
            } else if let Ok(index) = inner.parse::<usize>() {
                at = at.iter().filter_map(|v| v.get(index).cloned()).collect();
            } else {
                let key = inner.trim_matches(['\'', '"']);
                at = at.iter().filter_map(|v| v.get(key).cloned()).collect();
            }
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.starts_with('[') {
            continue;
        }
        if let Some(r) = rest.strip_prefix("`sorted`") {
            at.iter_mut()
                .filter_map(Value::as_array_mut)
                .for_each(|a| a.sort_by_key(Value::to_string));
            rest = r;
            continue;
        }
        if let Some(r) = rest.strip_prefix("`len`") {
            at = at.iter().filter_map(length).collect();
            rest = r;
            continue;
        }
        let quoted = rest.starts_with(['\'', '"']).then(|| &rest[..1]);
        let end = match quoted {
            Some(q) => rest[1..].find(q).unwrap() + 2,
            None => rest.find(['.', '[']).unwrap_or(rest.len()),
        };
        let key = rest[..end].trim_matches(['\'', '"']);
        at = match key {
            "*" => at.iter().flat_map(children).collect(),
            _ => at.iter().filter_map(|v| v.get(key).cloned()).collect(),
        };
        rest = &rest[end..];
    }
    at
}

fn length(value: &Value) -> Option<Value> {
    match value {
        Value::Array(a) => Some(json!(a.len())),
        Value::Object(o) => Some(json!(o.len())),
        Value::String(s) => Some(json!(s.len())),
        _ => None,
    }
}

fn children(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(a) => a.clone(),
        Value::Object(o) => o.values().cloned().collect(),
        _ => Vec::new(),
    }
}

fn below(value: &Value) -> Vec<Value> {
    let mut all = vec![value.clone()];
    for child in children(value) {
        all.extend(below(&child));
    }
    all
}

async fn run_file(path: &Path) -> Result<usize, String> {
    let file = path.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let suite: Value = serde_saphyr::from_str(&text).map_err(|e| format!("{file}: {e}"))?;
    let names: Vec<&str> = suite["fixtures"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let cloud = Cloud::new().await;
    let env = fixtures::prepare(&cloud, &names)
        .await
        .map_err(|e| format!("{file}: {e}"))?;
    let mut runner = Runner {
        cloud,
        env,
        past: HashMap::new(),
        last: None,
    };
    let mut done = 0;
    let mut failures = Vec::new();
    for test in suite["tests"].as_array().unwrap() {
        let mut test = test.as_object().unwrap().clone();
        let name = test["name"].as_str().unwrap().to_string();
        for (key, value) in suite["defaults"].as_object().into_iter().flatten() {
            match (test.get_mut(key), value) {
                (Some(Value::Object(own)), Value::Object(general)) => {
                    for (k, v) in general {
                        if !own.keys().any(|o| o.eq_ignore_ascii_case(k)) {
                            own.insert(k.clone(), v.clone());
                        }
                    }
                }
                (Some(_), _) => {}
                (None, _) => {
                    test.insert(key.clone(), value.clone());
                }
            }
        }
        if test.contains_key("skip") || SKIPPED.contains(&(file, name.as_str())) {
            continue;
        }
        let result = runner.run(&test).await;
        let wanted_to_fail = test.get("xfail").is_some_and(|x| x == true);
        match result {
            Err(e) if !wanted_to_fail => failures.push(format!("{file}: {name}: {e}")),
            _ => done += 1,
        }
    }
    if failures.is_empty() {
        Ok(done)
    } else {
        Err(failures.join("\n"))
    }
}

#[tokio::test]
async fn upstreams_declarative_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gabbits");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    let (mut done, mut failures) = (0, Vec::new());
    for file in &files {
        match run_file(file).await {
            Ok(n) => done += n,
            Err(e) => failures.push(e),
        }
    }
    assert!(
        failures.is_empty(),
        "{done} passed; these failed:\n{}",
        failures.join("\n")
    );
    assert!(done > 700, "only {done} tests ran");
}
