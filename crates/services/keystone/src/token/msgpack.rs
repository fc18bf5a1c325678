//! As much of MessagePack as upstream's token payloads use.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pack {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Pack>),
}

impl Pack {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Pack::Nil => out.push(0xc0),
            Pack::Bool(b) => out.push(if *b { 0xc3 } else { 0xc2 }),
            Pack::Int(i @ 0..=127) => out.push(*i as u8),
            Pack::Int(i) => {
                out.push(0xd3);
                out.extend_from_slice(&i.to_be_bytes());
            }
            Pack::Float(f) => {
                out.push(0xcb);
                out.extend_from_slice(&f.to_be_bytes());
            }
            Pack::Text(t) => {
                match t.len() {
                    n @ 0..=31 => out.push(0xa0 | n as u8),
                    n @ 32..=255 => out.extend_from_slice(&[0xd9, n as u8]),
                    n => {
                        out.push(0xda);
                        out.extend_from_slice(&(n as u16).to_be_bytes());
                    }
                }
                out.extend_from_slice(t.as_bytes());
            }
            Pack::Bytes(b) => {
                out.extend_from_slice(&[0xc4, b.len() as u8]);
                out.extend_from_slice(b);
            }
            Pack::Array(items) => {
                match items.len() {
                    n @ 0..=15 => out.push(0x90 | n as u8),
                    n => {
                        out.push(0xdc);
                        out.extend_from_slice(&(n as u16).to_be_bytes());
                    }
                }
                items.iter().for_each(|i| i.write(out));
            }
        }
    }

    /// Reads one value; `None` for anything else than what tokens hold, or nested deeper than they are.
    pub(crate) fn read(input: &mut &[u8]) -> Option<Pack> {
        read(input, 0)
    }
}

fn take<'a>(input: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(n)?;
    *input = rest;
    Some(head)
}

fn number(input: &mut &[u8], width: usize) -> Option<u64> {
    Some(
        take(input, width)?
            .iter()
            .fold(0, |n, b| n << 8 | u64::from(*b)),
    )
}

fn text(input: &mut &[u8], n: usize) -> Option<Pack> {
    String::from_utf8(take(input, n)?.to_vec())
        .ok()
        .map(Pack::Text)
}

fn array(input: &mut &[u8], n: usize, depth: usize) -> Option<Pack> {
    (0..n)
        .map(|_| read(input, depth + 1))
        .collect::<Option<_>>()
        .map(Pack::Array)
}

fn read(input: &mut &[u8], depth: usize) -> Option<Pack> {
    if depth > 4 {
        return None;
    }
    let tag = take(input, 1)?[0];
    match tag {
        0x00..=0x7f => Some(Pack::Int(i64::from(tag))),
        0x90..=0x9f => array(input, usize::from(tag & 0x0f), depth),
        0xa0..=0xbf => text(input, usize::from(tag & 0x1f)),
        0xc0 => Some(Pack::Nil),
        0xc2 | 0xc3 => Some(Pack::Bool(tag == 0xc3)),
        0xc4 | 0xc5 => {
            let n = number(input, if tag == 0xc4 { 1 } else { 2 })?;
            take(input, n as usize).map(|b| Pack::Bytes(b.to_vec()))
        }
        0xca => number(input, 4).map(|n| Pack::Float(f64::from(f32::from_bits(n as u32)))),
        0xcb => number(input, 8).map(|n| Pack::Float(f64::from_bits(n))),
        0xcc..=0xcf => number(input, 1 << (tag - 0xcc))
            .and_then(|n| i64::try_from(n).ok())
            .map(Pack::Int),
        0xd3 => number(input, 8).map(|n| Pack::Int(n as i64)),
        0xd9 | 0xda => {
            let n = number(input, if tag == 0xd9 { 1 } else { 2 })?;
            text(input, n as usize)
        }
        0xdc => {
            let n = number(input, 2)?;
            array(input, n as usize, depth)
        }
        _ => None,
    }
}
