//! A page of a list, as a caller asked for it: where to start, how many, in which order.

/// Which way a column is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

impl Dir {
    /// The other way.
    pub fn flip(self) -> Dir {
        match self {
            Dir::Asc => Dir::Desc,
            Dir::Desc => Dir::Asc,
        }
    }
}

/// Sort, marker and limit. The sort must end in a unique column, or pages could skip rows.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    /// Columns (names of the table, checked against an allow-list at the edge) and their direction.
    pub sort: Vec<(&'static str, Dir)>,
    /// The `id` of the last row of the page before.
    pub marker: Option<String>,
    /// At most so many rows; `None` means all.
    pub limit: Option<u64>,
    /// Rows to skip (old-style paging that some services still take).
    pub offset: Option<u64>,
    /// Neutron's `page_reverse`: the page *before* the marker.
    pub reverse: bool,
}

/// Rows, and whether more follow (`limit + 1` rows were asked for, so this is never a guess).
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, in the order asked for.
    pub items: Vec<T>,
    /// Whether at least one more row follows in the direction of travel.
    pub more: bool,
}

impl<T> Page<T> {
    /// Converts each row.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            more: self.more,
        }
    }
}
