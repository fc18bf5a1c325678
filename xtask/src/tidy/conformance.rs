//! `docs/conformance.md` says the counts of what `script/compat --record` wrote down, and no others.

use super::Finding;
use crate::tree::File;
use std::collections::BTreeMap;

const PAGE: &str = "docs/conformance.md";
const BASELINE: &str = "tests/compat/baseline/";

pub(super) fn look(files: &[File], found: &mut Vec<Finding>) {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return;
    };
    let mut expected = BTreeMap::new();
    for file in files {
        let Some(name) = file.path.strip_prefix(BASELINE) else {
            continue;
        };
        count(name.trim_end_matches(".txt"), &file.text, &mut expected);
    }
    let rows = expected
        .iter()
        .map(|((suite, area), n)| format!("| {suite} | {area} | {} | {} | {} |", n[0], n[1], n[2]));
    for row in rows {
        if !page.text.lines().any(|line| line == row) {
            let why = format!("lacks `{row}`: script/compat --record writes the counts");
            found.push(Finding::new(PAGE, 1, why));
        }
    }
}

/// Passed, failed and skipped by suite and area. A line is status, class, tests (and a reason), with tabs between.
fn count(suite: &str, record: &str, into: &mut BTreeMap<(String, String), [usize; 3]>) {
    for line in record.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or("");
        let (status, class, tests) = (next(), next(), next());
        let at = match status {
            "passed" => 0,
            "failed" => 1,
            _ => 2,
        };
        let area = area(suite, class);
        let counts = into
            .entry((suite.to_string(), area.to_string()))
            .or_default();
        counts[at] += tests.split(' ').count();
    }
}

/// The part of a cloud that a class is about.
fn area<'c>(suite: &str, class: &'c str) -> &'c str {
    let parts: Vec<&str> = class.split('.').collect();
    let at = match suite {
        "tempest" if parts.get(1) == Some(&"api") => 2,
        "tempest" => 1,
        _ if suite.ends_with("-plugin") => 2,
        _ => 0,
    };
    parts.get(at).copied().unwrap_or(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(page: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File {
            path: path.into(),
            text: text.into(),
        };
        let record = "# words\npassed\ttempest.api.image.v2.A\ta b\nskipped\ttempest.api.image.v2.A\tc\twhy\n";
        let files = [
            file(PAGE, page),
            file("tests/compat/baseline/tempest.txt", record),
        ];
        let mut found = Vec::new();
        look(&files, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn counts_that_nobody_recorded_are_told() {
        assert_eq!(said("| tempest | image | 2 | 0 | 1 |\n"), [""; 0]);
        let words = said("| tempest | image | 3 | 0 | 0 |\n");
        assert!(
            words[0].contains("| tempest | image | 2 | 0 | 1 |"),
            "{words:?}"
        );
    }
}
