//! The same stories in both shapes. Embedded, on SQLite and the in-process bus, each is a test of its own. Scaled, in many
//! processes on MariaDB, RabbitMQ and Memcached, they share the first two, and each has databases and a virtual host of
//! its own; some are told there alone, because they need many processes. One process on MariaDB and RabbitMQ is what `outage.rs` and one of the crash tests are about.
//!
//! `FERROSTACK_STORY=volume` plays only those in the second shape whose names have the word.

use crate::cloud::{Place, Servers, TestCloud};
use crate::processes::{Ground, Routes};
use crate::{stories, surface};
use futures::future::BoxFuture;
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// At the same time: two that work, one that waits.
const WORKERS: usize = 3;

type Story = fn(Place) -> BoxFuture<'static, ()>;

/// One list: what is not in it is dead code, which the lints refuse.
macro_rules! stories {
    ($($room:ident :: $file:ident :: $story:ident),* $(,)?) => {
        mod embedded {
            use crate::cloud::Place;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    crate::$room::$file::$story(Place::Embedded).await;
                }
            )*
        }

        const STORIES: &[(&str, Story)] = list!($($room::$file::$story),*);
    };
}

macro_rules! list {
    ($($room:ident :: $file:ident :: $story:ident),* $(,)?) => {
        &[$((stringify!($story), |place| Box::pin($room::$file::$story(place)))),*]
    };
}

stories!(
    stories::boot::a_boot_with_nowhere_to_go_says_why,
    stories::boot::a_delete_overtakes_a_boot,
    stories::boot::a_server_boots_and_leaves_without_a_trace,
    stories::boot::several_servers_come_of_one_request,
    stories::floating_ip::a_floating_address_shows_in_the_servers_addresses,
    stories::groups::anti_affinity_with_one_host_lets_one_server_in,
    stories::interfaces::a_card_is_put_in_and_taken_out,
    stories::interfaces::a_port_of_the_users_own_outlives_the_server,
    stories::lock::a_locked_server_stays_as_it_is,
    stories::metadata::a_guest_reads_its_key_and_its_metadata,
    stories::policy::an_operators_policy_file_is_obeyed_at_once,
    stories::power::every_power_verb_in_every_state,
    stories::quota::images_have_the_limits_that_keystone_keeps,
    stories::quota::servers_cores_and_memory_have_limits,
    stories::quota::volumes_and_ports_have_limits,
    stories::restart::everything_is_there_after_a_restart,
    stories::volumes::a_server_boots_with_a_volume_that_ends_with_it,
    stories::volumes::a_volume_comes_grows_and_goes,
    surface::foreign::another_projects_things_do_not_exist,
    surface::roles::every_role_enters_where_policy_says,
    surface::tokens::every_route_wants_a_token,
);

/// These need processes that can die, or two of a kind.
const OF_MANY: &[(&str, Story)] = list!(
    stories::many::a_compute_host_dies_with_boots_in_its_hands,
    stories::many::a_controller_dies_and_the_other_ends_what_it_began,
    stories::many::a_host_joins_with_a_ticket,
    stories::many::a_token_revoked_at_one_api_is_refused_by_the_other,
    stories::many::periodic_work_is_done_by_one_controller_at_a_time,
    stories::many::quotas_are_exact_at_both_doors,
    stories::many::two_schedulers_give_no_room_twice,
    stories::many::what_is_changed_at_one_api_is_seen_at_the_other,
);

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test, not an option of the cloud"
)]
fn wanted(name: &str) -> bool {
    std::env::var("FERROSTACK_STORY").map_or(true, |word| name.contains(&word))
}

/// A cloud that a story leaves behind ends with the story's runtime; its words are those of the panic.
fn play(story: Story, place: Place) -> bool {
    let runtime = runtime();
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(story(place))));
    runtime.shutdown_background();
    told.is_ok()
}

fn tell(stories: &[(&'static str, Story)], place: impl Fn(Servers) -> Place + Sync) {
    let chosen: Vec<_> = stories.iter().filter(|(name, _)| wanted(name)).collect();
    let names: Vec<String> = chosen.iter().map(|(name, _)| (*name).to_string()).collect();
    let servers = runtime();
    let (mariadb, rabbitmq) = servers
        .block_on(async { tokio::try_join!(MariaDb::start(), RabbitMq::with_vhosts(&names)) })
        .expect("a MariaDB and a RabbitMQ");
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((name, story)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let servers = Servers {
                        database: mariadb.template(),
                        bus: rabbitmq.vhost_url(name),
                    };
                    let good = play(*story, place(servers));
                    let word = if good { "ok" } else { "FAILED" };
                    println!("{word} {name} ({:.1?})", began.elapsed());
                    if !good {
                        failed.lock().expect("a list").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("a list");
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// What services serve, from a cloud in this process: the table of routes is not on the wire.
fn routes() -> Routes {
    runtime().block_on(async {
        let cloud = TestCloud::start(Place::Embedded).await;
        let rows = cloud.endpoints.iter().map(|(s, e)| (*s, e.routes()));
        let routes = Arc::new(rows.collect());
        cloud.stop().await;
        routes
    })
}

#[test]
fn every_story_in_processes_on_mariadb_and_rabbitmq() {
    let routes = routes();
    // The longest first: who dies is waited for.
    let stories = [OF_MANY, STORIES].concat();
    tell(&stories, |servers| {
        Place::Processes(Ground {
            servers,
            routes: Arc::clone(&routes),
            computes: 1,
        })
    });
}
