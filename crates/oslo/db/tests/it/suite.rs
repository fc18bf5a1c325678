//! The stories.

use base::{Dir, Error, Json, Kind, Paging, Result, Timestamp};
use oslo_db::{
    Db, Dialect, Migration, Tx, all, any, contains, eq, eq_ci, everything, gt, is_in, is_null,
    like, ne, not, not_in, not_null, nothing, prefix, set,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

type Story = fn(String, Db) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        pub const STORIES: &[(&str, Story)] = &[$((stringify!($name), |url, db| Box::pin($name(url, db)))),*];
    };
}
stories!(
    values_come_back_as_they_went,
    conditions_mean_the_same,
    one_of_eight_wins_the_swap,
    one_rollback_hurts_nobody_else,
    a_taken_key_is_a_conflict,
    upsert_inserts_or_sets,
    pages_walk_every_row_once,
    reads_do_not_write,
    peeks_see_what_is_committed,
    panics_are_errors,
    several_start_at_once,
    joins_and_sums,
);

base::str_enum! {
    pub enum State { Free = "free", Taken = "taken" }
}

oslo_db::table! {
    pub struct Thing in "things" {
        pub id: String,
        pub name: Option<String>,
        pub size: i64,
        pub ratio: f64,
        pub state: State,
        pub flag: bool,
        pub r#type: String,
        pub made_at: Timestamp,
        pub gone_at: Option<Timestamp>,
        pub bytes: Option<Vec<u8>>,
        pub extra: Json<BTreeMap<String, String>>,
    }
    pub struct Part in "parts" { pub id: String, pub thing_id: String, pub weight: i64 }
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        id: "2026-01-01-initial",
        sql: "-- things;\nCREATE TABLE things (\n  id VARCHAR(64) NOT NULL PRIMARY KEY,\n  name VARCHAR(255),\n\
              size BIGINT NOT NULL,\n  ratio DOUBLE NOT NULL,\n  state VARCHAR(16) NOT NULL,\n  flag BOOLEAN NOT NULL,\n\
              \"type\" TEXT NOT NULL,\n  made_at BIGINT NOT NULL,\n  gone_at BIGINT,\n  bytes BLOB,\n  extra TEXT NOT NULL,\n\
              CONSTRAINT uniq_name UNIQUE (name)\n);\nCREATE INDEX things_size ON things (size);\n",
    },
    Migration {
        id: "2026-01-02-parts",
        sql: "CREATE TABLE parts (id VARCHAR(64) NOT NULL PRIMARY KEY, thing_id VARCHAR(64) NOT NULL, weight BIGINT NOT NULL,\n\
              FOREIGN KEY (thing_id) REFERENCES things (id));\n",
    },
];

fn thing(id: &str) -> Thing {
    Thing {
        id: id.into(),
        name: None,
        size: 1,
        ratio: 1.5,
        state: State::Free,
        flag: true,
        r#type: "x".into(),
        made_at: Timestamp(1_700_000_000_123_456),
        gone_at: None,
        bytes: None,
        extra: Json::default(),
    }
}

async fn add(db: &Db, row: Thing) -> Result<()> {
    db.write(move |tx| tx.insert(&row)).await
}

async fn ready(db: &Db) {
    db.migrate("test", MIGRATIONS).await.unwrap();
}

async fn values_come_back_as_they_went(_: String, db: Db) {
    ready(&db).await;
    let mut row = thing("ünï-🦀");
    row.name = Some("naïve '; DROP TABLE things; -- \\ \" \0 end".into());
    row.size = i64::MIN;
    row.ratio = -0.1;
    row.flag = false;
    row.r#type = "y".repeat(100_000);
    row.gone_at = Some(Timestamp(-1));
    row.bytes = Some((0..=255).collect());
    row.extra.0.insert("schlüssel".into(), "\"wert\"\n".into());
    let expected = row.clone();
    add(&db, row).await.unwrap();
    let got = db
        .read(|tx| tx.find::<Thing>(eq("id", "ünï-🦀")))
        .await
        .unwrap()
        .expect("the row is there");
    assert_eq!(format!("{got:?}"), format!("{expected:?}"));
    assert!(db.stats().queries >= 2 && db.stats().commits >= 1);
}

async fn conditions_mean_the_same(_: String, db: Db) {
    ready(&db).await;
    for (id, name, size) in [
        ("a", Some("Alpha"), 1),
        ("b", Some("alpha"), 2),
        ("c", Some("50%_!x"), 3),
        ("d", None, 4),
    ] {
        add(
            &db,
            Thing {
                name: name.map(str::to_string),
                size,
                ..thing(id)
            },
        )
        .await
        .unwrap();
    }
    let ids = vec!["a".to_string(), "d".to_string()];
    let found = db
        .read(move |tx| {
            let cases = [
                (eq("name", "alpha"), "b"),
                (eq_ci("name", "ALPHA"), "ab"),
                (ne("name", "alpha"), "ac"),
                (is_null("name"), "d"),
                (not_null("name"), "abc"),
                (gt("size", 2), "cd"),
                (is_in("id", &ids), "ad"),
                (is_in("id", ["b", "c"]), "bc"),
                (is_in("id", Vec::<String>::new()), ""),
                (not_in("id", ["b", "c"]), "ad"),
                (not_in("id", Vec::<String>::new()), "abcd"),
                (like("name", "%lpha"), "ab"),
                (like("name", "a%"), "b"),
                (contains("name", "%_!"), "c"),
                (contains("name", "LPH"), ""),
                (prefix("name", "50%"), "c"),
                (prefix("name", "50_"), ""),
                (everything(), "abcd"),
                (nothing(), ""),
                (all([]), "abcd"),
                (any([]), ""),
                (not(eq("size", 1)), "bcd"),
                (not(any([eq("size", 1), eq("size", 2)])), "cd"),
                (
                    any([eq("size", 1), all([eq("size", 4), is_null("name")])]),
                    "ad",
                ),
                (
                    all([any([eq("size", 1), eq("size", 2)]), eq("name", "alpha")]),
                    "b",
                ),
                (eq("state", State::Taken), ""),
                (eq("state", &State::Free), "abcd"),
            ];
            let mut found = Vec::new();
            for (cond, expected) in cases {
                let rows = tx.select_sorted::<Thing>(cond.clone(), &[("id", Dir::Asc)], None)?;
                let got: String = rows.iter().map(|r| r.id.as_str()).collect();
                assert_eq!(tx.count::<Thing>(cond)? as usize, expected.len());
                found.push((got, expected));
            }
            Ok(found)
        })
        .await
        .unwrap();
    for (at, (got, expected)) in found.into_iter().enumerate() {
        assert_eq!(got, expected, "case {at}");
    }
}

async fn one_of_eight_wins_the_swap(_: String, db: Db) {
    ready(&db).await;
    add(&db, thing("prize")).await.unwrap();
    let rivals = (0..8).map(|n| {
        let db = db.clone();
        tokio::spawn(async move {
            db.write(move |tx| {
                let mine = [set("size", n)];
                let (from, to) = ([State::Free], State::Taken);
                tx.swap::<Thing, _>(eq("id", "prize"), "state", &from, to, &mine)
            })
            .await
            .unwrap()
        })
    });
    let mut winners = Vec::new();
    for (n, rival) in rivals.collect::<Vec<_>>().into_iter().enumerate() {
        if rival.await.unwrap() {
            winners.push(n as i64);
        }
    }
    assert_eq!(winners.len(), 1);
    let row = db
        .read(|tx| tx.get::<Thing, _>("id", "prize", "no prize"))
        .await
        .unwrap();
    assert_eq!((row.state, row.size), (State::Taken, winners[0]));
}

async fn one_rollback_hurts_nobody_else(_: String, db: Db) {
    ready(&db).await;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(move |tx| {
                    tx.insert(&thing(&format!("{n:03}")))?;
                    if n % 3 == 0 {
                        Err(Error::conflict("changed my mind"))
                    } else {
                        Ok(n)
                    }
                })
                .await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(got) => assert_eq!(got, n),
            Err(e) => assert!(n % 3 == 0 && e.message() == "changed my mind", "{n}: {e:?}"),
        }
    }
    let ids = db
        .read(|tx| tx.select::<Thing>(everything()))
        .await
        .unwrap();
    assert_eq!(ids.len(), 66);
    assert!(ids.iter().all(|t| t.id.parse::<i64>().unwrap() % 3 != 0));
    let stats = db.stats();
    if db.dialect() == Dialect::Sqlite {
        assert!(
            stats.commits < stats.writes,
            "writes share commits: {stats:?}"
        );
    }
}

async fn a_taken_key_is_a_conflict(_: String, db: Db) {
    ready(&db).await;
    add(
        &db,
        Thing {
            name: Some("secret-name".into()),
            ..thing("a")
        },
    )
    .await
    .unwrap();
    for row in [
        thing("a"),
        Thing {
            name: Some("secret-name".into()),
            ..thing("b")
        },
    ] {
        let e = add(&db, row).await.unwrap_err();
        assert_eq!(
            (e.kind(), e.error_class()),
            (Kind::Conflict, Some(oslo_db::DUPLICATE))
        );
        assert!(oslo_db::is_duplicate(&e));
        assert!(
            !format!("{e:?} {}", e.message()).contains("secret-name"),
            "{e:?}"
        );
    }
    // The transaction goes on after a taken key.
    let both = db
        .write(|tx| {
            let first = tx.insert(&thing("a")).is_err();
            tx.insert(&thing("z"))?;
            Ok(first && tx.exists::<Thing>(eq("id", "z"))?)
        })
        .await
        .unwrap();
    assert!(both);

    let orphan = Part {
        id: "p".into(),
        thing_id: "nowhere".into(),
        weight: 1,
    };
    let e = db.write(move |tx| tx.insert(&orphan)).await.unwrap_err();
    assert_eq!(
        (e.kind(), e.error_class()),
        (Kind::Conflict, Some(oslo_db::REFERENCE))
    );
    let e = db
        .write(|tx| tx.delete::<Thing>(eq("no_such_column", 1)))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), Kind::Internal);
    assert!(!e.message().contains("no_such_column"));
}

async fn upsert_inserts_or_sets(_: String, db: Db) {
    ready(&db).await;
    for size in [1, 2] {
        let row = Thing { size, ..thing("a") };
        db.write(move |tx| tx.upsert(&row, &["id"])).await.unwrap();
        let sizes = db
            .read(|tx| tx.select::<Thing>(everything()))
            .await
            .unwrap();
        assert_eq!(sizes.iter().map(|t| t.size).collect::<Vec<_>>(), [size]);
    }
    let gone = db
        .write(|tx| {
            let same = tx.update::<Thing>(eq("id", "a"), &[set("size", 2)])?;
            let locked = tx.find_for_update::<Thing>(eq("id", "a"))?.is_some();
            Ok((
                same,
                locked,
                tx.delete::<Thing>(eq("id", "a"))?,
                tx.delete::<Thing>(eq("id", "a"))?,
            ))
        })
        .await
        .unwrap();
    assert_eq!(
        gone,
        (1, true, 1, 0),
        "an update counts what matched, changed or not"
    );
}

async fn pages_walk_every_row_once(_: String, db: Db) {
    ready(&db).await;
    let rows: Vec<_> = (0..103)
        .map(|n| Thing {
            gone_at: (n % 4 != 0).then_some(Timestamp(n % 5)),
            size: n % 3,
            ..thing(&format!("{:03}", n * 37 % 103))
        })
        .collect();
    db.write(move |tx| tx.insert_all(&rows)).await.unwrap();
    let sorts: [&[(&'static str, Dir)]; 5] = [
        &[],
        &[("gone_at", Dir::Asc)],
        &[
            ("gone_at", Dir::Desc),
            ("size", Dir::Asc),
            ("id", Dir::Desc),
        ],
        &[("size", Dir::Desc), ("gone_at", Dir::Asc)],
        &[("id", Dir::Desc), ("size", Dir::Asc)],
    ];
    for sort in sorts {
        let whole = walk(&db, sort, None, false).await;
        assert_eq!(whole.len(), 103);
        assert_eq!(walk(&db, sort, Some(7), false).await, whole, "{sort:?}");
        let mut back = walk(&db, sort, Some(10), true).await;
        back.reverse();
        assert_eq!(back, whole, "backwards {sort:?}");
    }
    let paging = Paging {
        marker: Some("nobody".into()),
        ..Paging::default()
    };
    let e = db
        .read(move |tx| tx.page::<Thing>(everything(), &paging))
        .await
        .unwrap_err();
    assert_eq!(
        (e.kind(), e.error_class()),
        (Kind::BadRequest, Some(oslo_db::MARKER_NOT_FOUND))
    );
    let paging = Paging {
        offset: Some(100),
        ..Paging::default()
    };
    let page = db
        .read(move |tx| tx.page::<Thing>(everything(), &paging))
        .await
        .unwrap();
    assert_eq!((page.items.len(), page.more), (3, false));
}

/// The ids in order of travel, page by page.
async fn walk(
    db: &Db,
    sort: &[(&'static str, Dir)],
    limit: Option<u64>,
    reverse: bool,
) -> Vec<String> {
    let mut ids = Vec::new();
    let mut marker = None;
    loop {
        let paging = Paging {
            sort: sort.to_vec(),
            marker,
            limit,
            offset: None,
            reverse,
        };
        let page = db
            .read(move |tx| tx.page::<Thing>(everything(), &paging))
            .await
            .unwrap();
        let mut items: Vec<_> = page.items.into_iter().map(|t| t.id).collect();
        if reverse {
            items.reverse();
        }
        ids.extend(items);
        assert!(ids.len() <= 103, "rows repeat");
        if !page.more {
            return ids;
        }
        marker = ids.last().cloned();
    }
}

async fn reads_do_not_write(_: String, db: Db) {
    ready(&db).await;
    let e = db.read(|tx| tx.insert(&thing("a"))).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Internal);
    assert_eq!(
        db.read(|tx| tx.count::<Thing>(everything())).await.unwrap(),
        0
    );
}

async fn peeks_see_what_is_committed(url: String, db: Db) {
    ready(&db).await;
    let count = |tx: &mut Tx| tx.count::<Thing>(everything());
    let other = match url.contains(":memory:") {
        true => db.clone(),
        false => Db::open(&url).await.unwrap(),
    };
    for i in 0..20u64 {
        assert_eq!(db.peek(count).await.unwrap(), i);
        add(&other, thing(&i.to_string())).await.unwrap();
    }
    let peeking = |db: Db| tokio::spawn(async move { db.peek(count).await });
    let crowd: Vec<_> = (0..50).map(|_| peeking(db.clone())).collect();
    for seen in crowd {
        assert_eq!(seen.await.unwrap().unwrap(), 20);
    }
    let e = db.peek(|tx| tx.insert(&thing("a"))).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Internal);
    let fallen = db.peek(|_| -> Result<()> { panic!("as expected by the test") });
    assert_eq!(fallen.await.unwrap_err().kind(), Kind::Internal);
    assert_eq!(db.peek(count).await.unwrap(), 20);

    // What is not committed is not seen, and not waited for.
    if !url.contains(":memory:") {
        let (inside, done) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (met, end) = (Arc::clone(&inside), Arc::clone(&done));
        let writing = tokio::spawn(async move {
            let write = other.write(move |tx| {
                tx.insert(&thing("late"))?;
                met.wait();
                end.wait();
                Ok(())
            });
            write.await.unwrap();
        });
        tokio::task::spawn_blocking(move || inside.wait())
            .await
            .unwrap();
        assert_eq!(db.peek(count).await.unwrap(), 20);
        tokio::task::spawn_blocking(move || done.wait())
            .await
            .unwrap();
        writing.await.unwrap();
        assert_eq!(db.peek(count).await.unwrap(), 21);
    }
    db.close().await;
    assert_eq!(db.peek(count).await.unwrap_err().kind(), Kind::Unavailable);
}

async fn panics_are_errors(_: String, db: Db) {
    ready(&db).await;
    for write in [true, false, true] {
        let panicking = move |tx: &mut Tx| -> Result<()> {
            if write {
                tx.insert(&thing("a"))?;
            }
            panic!("as expected by the test")
        };
        let result = if write {
            db.write(panicking).await
        } else {
            db.read(panicking).await
        };
        assert_eq!(result.unwrap_err().kind(), Kind::Internal);
    }
    assert_eq!(
        db.read(|tx| tx.count::<Thing>(everything())).await.unwrap(),
        0
    );
    add(&db, thing("a")).await.unwrap();
}

async fn several_start_at_once(url: String, db: Db) {
    assert_eq!(db.version("test").await.unwrap(), None);
    let starters: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let own = Db::open(&url).await.unwrap();
                own.migrate("test", MIGRATIONS).await.unwrap().len()
            })
        })
        .collect();
    let mut applied = 0;
    for starter in starters {
        applied += starter.await.unwrap();
    }
    assert_eq!(applied, MIGRATIONS.len(), "each migration runs once");
    assert_eq!(
        db.version("test").await.unwrap().as_deref(),
        Some("2026-01-02-parts")
    );
    assert_eq!(db.version("other").await.unwrap(), None);
    assert!(db.migrate("test", MIGRATIONS).await.unwrap().is_empty());

    // Two handles, as two processes would, on one database.
    let other = Db::open(&url).await.unwrap();
    for n in 0..20 {
        let writer = if n % 2 == 0 { &db } else { &other };
        add(writer, thing(&n.to_string())).await.unwrap();
    }
    assert_eq!(
        other
            .read(|tx| tx.count::<Thing>(everything()))
            .await
            .unwrap(),
        20
    );
}

async fn joins_and_sums(_: String, db: Db) {
    use oslo_db::sea_query::{Expr, ExprTrait, Func, Query};
    ready(&db).await;
    let sums = db
        .write(|tx| {
            tx.insert_all(&[thing("a"), thing("b")])?;
            for (id, thing_id, weight) in [("1", "a", 3), ("2", "a", 4), ("3", "b", 5)] {
                tx.insert(&Part {
                    id: id.into(),
                    thing_id: thing_id.into(),
                    weight,
                })?;
            }
            let mut select = Query::select();
            select
                .column(("things", "id"))
                .expr(Func::sum(Expr::col(("parts", "weight"))))
                .from("things")
                .inner_join(
                    "parts",
                    Expr::col(("parts", "thing_id")).equals(("things", "id")),
                )
                .cond_where(eq(("things", "state"), State::Free))
                .group_by_col(("things", "id"))
                .order_by(("things", "id"), oslo_db::sea_query::Order::Asc);
            let rows = tx.query(&select)?;
            let sums = rows
                .iter()
                .map(|r| Ok((r.get::<String>(0)?, r.get::<i64>(1)?)));
            let total = tx.sum::<Part>("weight", everything())?;
            let none = tx.sum::<Part>("weight", nothing())?;
            Ok((sums.collect::<Result<Vec<_>>>()?, total, none))
        })
        .await
        .unwrap();
    assert_eq!(
        sums,
        (vec![("a".to_string(), 7), ("b".to_string(), 5)], 12, 0)
    );
}

/// A name of 256 letters for a column of 255 (SQLite keeps it).
pub async fn too_long(db: Db) {
    ready(&db).await;
    let long = Thing {
        name: Some("ä".repeat(256)),
        ..thing("a")
    };
    let error = db.write(move |tx| tx.insert(&long)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadRequest, "{error:?}");
    assert!(!error.message().contains("things"), "{error:?}");
    let fits = Thing {
        name: Some("ä".repeat(255)),
        ..thing("a")
    };
    db.write(move |tx| tx.insert(&fits)).await.unwrap();
}

/// Two transactions lock two rows in opposite order, meeting in the middle on the first attempt.
pub async fn deadlock(db: Db) {
    ready(&db).await;
    db.write(|tx| tx.insert_all(&[thing("a"), thing("b")]))
        .await
        .unwrap();
    let meet = Arc::new(Barrier::new(2));
    let attempts = Arc::new(AtomicUsize::new(0));
    let rival = |first: &'static str, second: &'static str| {
        let (db, meet, attempts) = (db.clone(), meet.clone(), attempts.clone());
        let met = Arc::new(AtomicUsize::new(0));
        async move {
            db.write(move |tx| {
                attempts.fetch_add(1, Ordering::SeqCst);
                let bump = |tx: &mut Tx, id: &str| -> Result<()> {
                    let row = tx.find_for_update::<Thing>(eq("id", id))?;
                    let size = row.map_or(0, |r| r.size) + 1;
                    tx.update::<Thing>(eq("id", id), &[set("size", size)])
                        .map(drop)
                };
                bump(tx, first)?;
                if met.fetch_add(1, Ordering::SeqCst) == 0 {
                    meet.wait();
                }
                bump(tx, second)
            })
            .await
        }
    };
    let (one, two) = tokio::join!(rival("a", "b"), rival("b", "a"));
    one.unwrap();
    two.unwrap();
    assert_eq!(
        attempts.load(Ordering::SeqCst),
        3,
        "one of the two was run again"
    );
    assert_eq!(db.stats().retries, 1);
    let rows = db
        .read(|tx| tx.select::<Thing>(everything()))
        .await
        .unwrap();
    assert!(
        rows.iter().all(|r| r.size == 3),
        "both did their work exactly once: {rows:?}"
    );
}
