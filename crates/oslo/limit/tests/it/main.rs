//! Quotas on both databases: nobody slips past a limit, however many try at once.

use base::{Kind, Result};
use oslo_db::{Db, Migration, Tx, eq};
use oslo_limit::{DEFAULT_CLASS, Exceeded, Limits, Resource, UNLIMITED};
use oslo_testing::db::{Galera, MariaDb, Scratch};

oslo_db::table! {
    struct Volume in "volumes" { id: String, project_id: String, size: i64 }
}

const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-01-01-volumes",
    sql: "CREATE TABLE volumes (id VARCHAR(64) NOT NULL PRIMARY KEY, project_id VARCHAR(64) NOT NULL, size BIGINT NOT NULL);\n",
}];

fn volumes(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<Volume>(eq("project_id", project))
}

fn gigabytes(tx: &mut Tx, project: &str) -> Result<u64> {
    Ok(tx.sum::<Volume>("size", eq("project_id", project))? as u64)
}

fn limits() -> Limits {
    let volumes = Resource {
        name: "volumes",
        default: 10,
        count: volumes,
    };
    let gigabytes = Resource {
        name: "gigabytes",
        default: 1000,
        count: gigabytes,
    };
    Limits::new("cinder", vec![volumes, gigabytes])
}

async fn create(db: &Db, project: &'static str, size: i64) -> Result<()> {
    db.write(move |tx| {
        // A look before the reservation must not freeze what the reservation counts.
        tx.count::<Volume>(oslo_db::everything())?;
        limits().reserve(tx, project, &[("volumes", 1), ("gigabytes", size)])?;
        let id = base::new_id();
        tx.insert(&Volume {
            id,
            project_id: project.into(),
            size,
        })
    })
    .await
}

async fn suite(db: Db) {
    db.migrate("cinder", MIGRATIONS).await.unwrap();
    db.migrate("cinder", oslo_limit::MIGRATIONS).await.unwrap();

    // Sixteen want one of ten.
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { create(&db, "p", 5).await })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => granted += 1,
            Err(e) => {
                assert_eq!(e.kind(), Kind::OverQuota, "{e:?}");
                assert_eq!(e.message(), "Quota exceeded for resources: volumes.");
            }
        }
    }
    assert_eq!(granted, 10);
    assert_eq!(db.read(|tx| volumes(tx, "p")).await.unwrap(), 10);
    create(&db, "q", 5).await.unwrap();

    // The service's own words need every limit that is exceeded.
    let exceeded = db
        .write(|tx| {
            limits().check(
                tx,
                "p",
                &[("volumes", 1), ("gigabytes", 500), ("gigabytes", 451)],
            )
        })
        .await
        .unwrap();
    let wanted = [
        Exceeded {
            resource: "volumes",
            limit: 10,
            used: 10,
            requested: 1,
        },
        Exceeded {
            resource: "gigabytes",
            limit: 1000,
            used: 50,
            requested: 951,
        },
    ];
    assert_eq!(exceeded, wanted);
    let e = db
        .write(|tx| limits().reserve(tx, "p", &[("unicorns", 1)]))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), Kind::BadRequest);

    // Own limit before class before built-in.
    let seen = db
        .write(|tx| {
            let limits = limits();
            let mut seen = vec![limits.get(tx, "p")?["volumes"]];
            limits.set_class(tx, DEFAULT_CLASS, "volumes", 11)?;
            seen.push(limits.get(tx, "p")?["volumes"]);
            limits.set(tx, "p", "volumes", 3)?;
            limits.set(tx, "p", "volumes", UNLIMITED)?;
            seen.push(limits.get(tx, "p")?["volumes"]);
            seen.push(limits.get(tx, "q")?["volumes"]);
            assert!(limits.set(tx, "p", "volumes", -2).is_err());
            assert!(limits.set(tx, "p", "unicorns", 2).is_err());
            Ok(seen)
        })
        .await
        .unwrap();
    assert_eq!(seen, [10, 11, -1, 11]);
    create(&db, "p", 5).await.unwrap();
    let (usages, projects) = db
        .read(|tx| Ok((limits().usages(tx, "p")?, limits().projects(tx)?)))
        .await
        .unwrap();
    let usages: Vec<_> = usages
        .iter()
        .map(|u| (u.resource, u.limit, u.used))
        .collect();
    assert_eq!(usages, [("volumes", -1, 11), ("gigabytes", 1000, 55)]);
    assert_eq!(projects, ["p"]);

    // A limit lowered below the use stops growth, never shrinking.
    let after = db
        .write(|tx| {
            let limits = limits();
            limits.set(tx, "p", "volumes", 2)?;
            limits.reserve(tx, "p", &[("volumes", -1), ("gigabytes", 1)])?;
            let more = limits.check(tx, "p", &[("volumes", 1)])?.len();
            let forgot = limits.delete(tx, "p", None)?;
            Ok((more, forgot, limits.delete(tx, "p", Some("volumes"))?))
        })
        .await
        .unwrap();
    assert_eq!(after, (1, true, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let scratch = Scratch::new().unwrap();
    suite(Db::open(&scratch.sqlite("quotas")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    let server = MariaDb::start().await.unwrap();
    suite(Db::open(&server.database().await.unwrap()).await.unwrap()).await;
}

/// Three controllers, each with a node of its own, give away what is left of one quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_galera() {
    let galera = Galera::start(3).await.unwrap();
    let mut dbs = Vec::new();
    for url in galera.database().await.unwrap() {
        dbs.push(Db::open(&url).await.unwrap());
    }
    dbs[0].migrate("cinder", MIGRATIONS).await.unwrap();
    let limits = oslo_limit::MIGRATIONS;
    dbs[0].migrate("cinder", limits).await.unwrap();
    for project in ["p1", "p2", "p3", "p4", "p5"] {
        let creators: Vec<_> = (0..18)
            .map(|n| {
                let db = dbs[n % 3].clone();
                tokio::spawn(async move { create(&db, project, 1).await })
            })
            .collect();
        let mut made = 0;
        for creator in creators {
            match creator.await.unwrap() {
                Ok(()) => made += 1,
                Err(e) => assert!(
                    matches!(e.kind(), Kind::OverQuota | Kind::Unavailable),
                    "{e:?}"
                ),
            }
        }
        let there = dbs[1].read(move |tx| volumes(tx, project)).await.unwrap();
        assert_eq!(made, there, "{project}");
        assert!(there <= 10, "{project} has {there} of 10");
    }
    let retries: u64 = dbs.iter().map(|db| db.stats().retries).sum();
    println!("{retries} retries");
    assert!(retries > 0, "or this shows nothing");
}
