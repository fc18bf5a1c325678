//! The reference of all options, and a file to begin with; both made from the doc comments.

use crate::section::OptionDoc;
use std::fmt::Write;

/// Markdown: a table per section, in the order given.
pub fn reference(options: &[OptionDoc]) -> String {
    let mut page =
        String::from("# Configuration\n\nGenerated from the doc comments; do not edit.\n");
    each(options, |option, new_section| {
        if new_section {
            let _ = write!(
                page,
                "\n## [{}]\n\n| option | type | default | meaning |\n|---|---|---|---|\n",
                option.section
            );
        }
        let default = match (&option.default, option.secret) {
            (_, true) => "(secret)".to_string(),
            (Some(default), false) => format!("`{}`", cell(default)),
            (None, false) => "(not set)".to_string(),
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {} |",
            option.name,
            cell(&option.type_name),
            cell(&option.doc)
        );
    });
    page
}

/// A file in which every option stands with its default, commented out.
pub fn example_toml(options: &[OptionDoc]) -> String {
    let mut file =
        String::from("# Every option with its default. Generated from the doc comments.\n");
    each(options, |option, new_section| {
        if new_section {
            // A table below another bears a name that the operator chooses.
            let mark = if option.section.contains('.') {
                "#"
            } else {
                ""
            };
            let _ = write!(file, "\n{mark}[{}]\n", option.section);
        }
        file.push('\n');
        for line in option.doc.lines() {
            let _ = writeln!(file, "{}", format!("# {line}").trim_end());
        }
        let _ = match (&option.default, option.secret) {
            (Some(default), false) => writeln!(file, "#{} = {default}", option.name),
            (_, true) => writeln!(file, "#{} = \"\"  # secret", option.name),
            (None, false) => writeln!(file, "#{} =  # {}, not set", option.name, option.type_name),
        };
    });
    file
}

/// Visits the options section by section: those of a table stand together even if two crates declared them.
fn each(options: &[OptionDoc], mut visit: impl FnMut(&OptionDoc, bool)) {
    let mut sections: Vec<&str> = Vec::new();
    for option in options {
        if !sections.contains(&option.section.as_str()) {
            sections.push(&option.section);
        }
    }
    for section in sections {
        let mut seen: Vec<&str> = Vec::new();
        for option in options.iter().filter(|option| option.section == section) {
            if !seen.contains(&option.name.as_str()) {
                visit(option, seen.is_empty());
                seen.push(&option.name);
            }
        }
    }
}

/// One line, without what would end a table's cell.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
