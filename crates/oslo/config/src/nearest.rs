//! "Did you mean …?"

/// The known name that looks most like a wrong one, if any looks like it at all.
pub(crate) fn nearest<'n>(
    wrong: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let limit = (wrong.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|name| (distance(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// A sentence for the end of an error message.
pub(crate) fn hint<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    nearest(wrong, known).map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

/// Levenshtein's: how many letters to add, drop or change.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["connection", "max_overflow", "cpu_allocation_ratio"];
        assert_eq!(nearest("conection", known), Some("connection"));
        assert_eq!(
            nearest("cpu_allocation_rate", known),
            Some("cpu_allocation_ratio")
        );
        assert_eq!(nearest("Connection", known), Some("connection"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(distance("", "abc"), 3);
    }
}
