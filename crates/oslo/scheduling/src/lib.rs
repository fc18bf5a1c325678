//! Choosing hosts, as nova's and cinder's schedulers do: filters say no with a reason, weighers put the rest in order.
//!
//! Pure: no database, no clock, no randomness. The [`Outcome`] tells the whole story and is stored, so that an
//! operator can ask why a server went where it went, or nowhere.

pub mod expression;

use base::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A candidate.
pub trait HostState {
    /// Its name, unique among the candidates.
    fn name(&self) -> &str;
}

/// Says which hosts cannot take a request.
pub trait Filter<H, R>: Send + Sync {
    /// Upstream's name of it, as operators enable it.
    fn name(&self) -> &'static str;
    /// `Err` says, for an operator, why this host cannot.
    fn passes(&self, host: &H, request: &R) -> Result<(), String>;
}

/// Says which hosts are better.
pub trait Weigher<H, R>: Send + Sync {
    /// Upstream's name of it.
    fn name(&self) -> &'static str;
    /// How much it counts; negative turns it around.
    fn multiplier(&self, request: &R) -> f64;
    /// More is better. Any scale: weights are normalised among the candidates.
    fn weigh(&self, host: &H, request: &R) -> f64;
}

/// Of so many of the best it is kept what each weigher gave: nobody reads more, and there may be thousands of hosts.
pub const TOLD: usize = 50;

/// A host that can take the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Survivor {
    /// The host.
    pub host: String,
    /// The sum of its weights.
    pub total: f64,
    /// What each weigher gave, normalised and multiplied, in their order; of the best [`TOLD`] only.
    pub weights: Vec<(String, f64)>,
}

/// A host that cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The host.
    pub host: String,
    /// The first filter that said no.
    pub filter: String,
    /// Why.
    pub reason: String,
}

/// What one filter left over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCount {
    /// The filter.
    pub filter: String,
    /// How many hosts came to it.
    pub before: usize,
    /// How many passed.
    pub after: usize,
}

/// How a choice was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Those that can, best first; equals by name.
    pub survivors: Vec<Survivor>,
    /// Those that cannot, in the order of the filters that said so.
    pub rejected: Vec<Rejected>,
    /// What each filter left over, up to the first that left none.
    pub counts: Vec<FilterCount>,
}

impl Outcome {
    /// The best host, or upstream's "No valid host was found." with the filters' tally for the log.
    pub fn best(&self) -> Result<&str> {
        match self.survivors.first() {
            Some(survivor) => Ok(&survivor.host),
            None => Err(no_valid_host(&self.tally())),
        }
    }

    /// One line for a log: what each filter left over.
    pub fn tally(&self) -> String {
        let counts = self
            .counts
            .iter()
            .map(|c| format!("{} {}->{}", c.filter, c.before, c.after));
        let counts: Vec<String> = counts.collect();
        if counts.is_empty() {
            "there are no hosts".to_string()
        } else {
            counts.join(", ")
        }
    }

    /// How many hosts each reason turned away, most first.
    pub fn reasons(&self) -> Vec<(String, usize)> {
        let mut reasons = BTreeMap::<&str, usize>::new();
        for rejected in &self.rejected {
            *reasons.entry(&rejected.reason).or_default() += 1;
        }
        let mut reasons: Vec<_> = reasons
            .into_iter()
            .map(|(r, n)| (r.to_string(), n))
            .collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        reasons
    }
}

fn no_valid_host(log: &str) -> Error {
    Error::new(
        Kind::Conflict,
        "No valid host was found. There are not enough hosts available.",
    )
    .class("NoValidHost")
    .log(format!("no valid host: {log}"))
}

/// Filters, weighs and sorts. A host is judged by each filter in turn until one says no.
pub fn run<'a, H: HostState + 'a, R>(
    hosts: impl IntoIterator<Item = &'a H>,
    request: &R,
    filters: &[&dyn Filter<H, R>],
    weighers: &[&dyn Weigher<H, R>],
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut left: Vec<&H> = hosts.into_iter().collect();
    for filter in filters {
        if left.is_empty() {
            break;
        }
        let before = left.len();
        left.retain(|host| match filter.passes(host, request) {
            Ok(()) => true,
            Err(reason) => {
                let (host, filter) = (host.name().to_string(), filter.name().to_string());
                outcome.rejected.push(Rejected {
                    host,
                    filter,
                    reason,
                });
                false
            }
        });
        let filter = filter.name().to_string();
        outcome.counts.push(FilterCount {
            filter,
            before,
            after: left.len(),
        });
    }
    outcome.survivors = weigh(&left, request, weighers);
    outcome
}

fn weigh<H: HostState, R>(
    hosts: &[&H],
    request: &R,
    weighers: &[&dyn Weigher<H, R>],
) -> Vec<Survivor> {
    let mut columns = Vec::with_capacity(weighers.len());
    for weigher in weighers {
        let raw: Vec<f64> = hosts.iter().map(|h| weigher.weigh(h, request)).collect();
        let multiplier = weigher.multiplier(request);
        let weights = normalise(&raw).into_iter().map(|w| w * multiplier);
        columns.push((weigher.name(), weights.collect::<Vec<f64>>()));
    }
    let total = |i: usize| {
        columns
            .iter()
            .fold(0.0, |sum, (_, weights)| sum + weights[i])
    };
    let mut order: Vec<(usize, f64)> = (0..hosts.len()).map(|i| (i, total(i))).collect();
    order.sort_by(|a, b| match b.1.total_cmp(&a.1) {
        Ordering::Equal => hosts[a.0].name().cmp(hosts[b.0].name()),
        unequal => unequal,
    });
    let weights = |i: usize| {
        let of = |(name, weights): &(&str, Vec<f64>)| (name.to_string(), weights[i]);
        columns.iter().map(of).collect()
    };
    let survivor = |(at, (i, total)): (usize, (usize, f64))| Survivor {
        host: hosts[i].name().to_string(),
        total,
        weights: if at < TOLD { weights(i) } else { Vec::new() },
    };
    order.into_iter().enumerate().map(survivor).collect()
}

/// To 0..1 among the candidates; when all weigh the same, all get 0, as upstream. What is not a number weighs least.
fn normalise(raw: &[f64]) -> Vec<f64> {
    let finite = || raw.iter().copied().filter(|w| w.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    let range = high - low;
    let scale = |w: f64| {
        if range > 0.0 && w.is_finite() {
            (w - low) / range
        } else {
            0.0
        }
    };
    raw.iter().map(|w| scale(*w)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host(&'static str, i64, f64);

    impl HostState for Host {
        fn name(&self) -> &str {
            self.0
        }
    }

    struct Ram;
    impl Filter<Host, i64> for Ram {
        fn name(&self) -> &'static str {
            "RamFilter"
        }
        fn passes(&self, host: &Host, wanted: &i64) -> Result<(), String> {
            if host.1 >= *wanted {
                Ok(())
            } else {
                Err(format!("{} MiB free, {wanted} wanted", host.1))
            }
        }
    }

    struct NotZ;
    impl Filter<Host, i64> for NotZ {
        fn name(&self) -> &'static str {
            "NotZFilter"
        }
        fn passes(&self, host: &Host, _: &i64) -> Result<(), String> {
            if host.0 == "z" {
                Err("is z".to_string())
            } else {
                Ok(())
            }
        }
    }

    struct ByRam(f64);
    impl Weigher<Host, i64> for ByRam {
        fn name(&self) -> &'static str {
            "RAMWeigher"
        }
        fn multiplier(&self, _: &i64) -> f64 {
            self.0
        }
        fn weigh(&self, host: &Host, _: &i64) -> f64 {
            host.1 as f64
        }
    }

    struct ByLoad(f64);
    impl Weigher<Host, i64> for ByLoad {
        fn name(&self) -> &'static str {
            "LoadWeigher"
        }
        fn multiplier(&self, _: &i64) -> f64 {
            self.0
        }
        fn weigh(&self, host: &Host, _: &i64) -> f64 {
            host.2
        }
    }

    const HOSTS: &[Host] = &[
        Host("a", 1000, 0.0),
        Host("b", 3000, 10.0),
        Host("c", 2000, 10.0),
        Host("z", 9000, 5.0),
    ];

    #[test]
    fn order_follows_weights() {
        let table: &[(f64, f64, &[&str])] = &[
            (1.0, 0.0, &["b", "c", "a"]),
            (-1.0, 0.0, &["a", "c", "b"]),
            (0.0, 1.0, &["b", "c", "a"]),
            (0.0, 0.0, &["a", "b", "c"]),
            (1.0, -1.5, &["a", "b", "c"]),
            (1.0, -0.5, &["b", "a", "c"]),
        ];
        for (ram, load, wanted) in table {
            let (by_ram, by_load) = (ByRam(*ram), ByLoad(*load));
            let outcome = run(HOSTS, &500, &[&Ram, &NotZ], &[&by_ram, &by_load]);
            let names: Vec<&str> = outcome.survivors.iter().map(|s| s.host.as_str()).collect();
            assert_eq!(&names, wanted, "ram {ram}, load {load}: {outcome:?}");
        }
    }

    #[test]
    fn weights_are_told_apart() {
        let outcome = run(HOSTS, &500, &[&NotZ], &[&ByRam(2.0), &ByLoad(-1.0)]);
        let c = outcome.survivors.iter().find(|s| s.host == "c").unwrap();
        assert_eq!(
            c.weights,
            [
                ("RAMWeigher".to_string(), 1.0),
                ("LoadWeigher".to_string(), -1.0)
            ]
        );
        assert_eq!(c.total, 0.0);
    }

    #[test]
    fn refusals_say_why_and_survive_storage() {
        let outcome = run(HOSTS, &2500, &[&Ram, &NotZ], &[]);
        assert_eq!(outcome.tally(), "RamFilter 4->2, NotZFilter 2->1");
        assert_eq!(outcome.best().unwrap(), "b");
        assert_eq!(outcome.rejected[0].reason, "1000 MiB free, 2500 wanted");
        assert_eq!(
            (
                outcome.rejected[2].host.as_str(),
                outcome.rejected[2].filter.as_str()
            ),
            ("z", "NotZFilter")
        );
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);

        let none = run(HOSTS, &99_000, &[&Ram, &NotZ], &[&ByRam(1.0)]);
        assert_eq!(none.counts.len(), 1, "nobody came to the second filter");
        let error = none.best().unwrap_err();
        assert_eq!(error.error_class(), Some("NoValidHost"));
        assert!(error.log_message().contains("RamFilter 4->0"));
        let empty = run::<Host, i64>(&[], &1, &[&Ram], &[]);
        assert!(
            empty
                .best()
                .unwrap_err()
                .log_message()
                .contains("there are no hosts")
        );
    }

    #[test]
    fn strange_numbers_do_no_harm() {
        assert_eq!(normalise(&[5.0, 5.0]), [0.0, 0.0]);
        assert_eq!(
            normalise(&[f64::NAN, 1.0, 3.0, f64::INFINITY]),
            [0.0, 0.0, 1.0, 0.0]
        );
        assert!(normalise(&[]).is_empty());
    }

    #[test]
    fn reasons_are_counted() {
        let outcome = run(
            &[Host("a", 1, 0.0), Host("b", 1, 0.0), Host("z", 9, 0.0)],
            &5,
            &[&NotZ, &Ram],
            &[],
        );
        assert_eq!(
            outcome.reasons()[0],
            ("1 MiB free, 5 wanted".to_string(), 2)
        );
    }
}
