//! `script/fuzz --against-qemu`: shows qemu-img every image that was kept and that the inspector calls safe. If qemu-img
//! opens it as that format, it must find nothing but this one file in it, and no larger disk than the inspector.

use fuzz::image::image;
use host_imagefmt::{Format, Inspector};
use host_privsep::{Limits, Privsep, Program};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMITS: Limits = Limits {
    cpu_seconds: 20,
    address_space: 1 << 30,
    file_size: Some(0),
};

/// Images, those that are safe, and those that qemu-img opened.
#[derive(Default)]
struct Count {
    all: usize,
    safe: usize,
    opened: usize,
    wrong: usize,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut wrong = 0;
    for target in ["image_other", "image_qcow2", "image_vhdx", "image_vmdk"] {
        let count = runtime.block_on(look(target));
        println!(
            "{target:<12} {} images, {} safe, {} of these opened by qemu-img, {} not as they were judged",
            count.all, count.safe, count.opened, count.wrong
        );
        wrong += count.wrong;
    }
    std::process::exit(i32::from(wrong > 0));
}

async fn look(target: &str) -> Count {
    let host = Privsep::new();
    let mut count = Count::default();
    let path = std::env::temp_dir().join(format!("ferrostack-fuzz-qemu-{}", std::process::id()));
    for input in inputs(target) {
        let data = std::fs::read(&input).expect("an input that can be read");
        let Some((bytes, _)) = image(target, &data) else {
            continue;
        };
        let mut inspector = Inspector::new();
        inspector.feed(&bytes);
        let seen = inspector.finish();
        count.all += 1;
        if seen.safety.is_err() || matches!(seen.format, Format::Raw | Format::Gpt | Format::Iso) {
            continue;
        }
        count.safe += 1;
        std::fs::write(&path, &bytes).expect("room for an image");
        let args = ["info", "--output=json", "-f", seen.format.qemu()];
        let command = host.command(Program::QemuImg).args(args).arg(&path);
        let told = command
            .limits(LIMITS)
            .timeout(Duration::from_secs(60))
            .run()
            .await;
        let Ok(told) = told else { continue };
        count.opened += 1;
        let told: Value = serde_json::from_str(&told.text()).unwrap_or_default();
        for problem in problems(&told, &path, seen.virtual_size) {
            println!("{}: {} {problem}", input.display(), seen.format);
            count.wrong += 1;
        }
    }
    let _ = std::fs::remove_file(&path);
    count
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let folders = ["corpus", "seeds"].map(|folder| Path::new(folder).join(target));
    let folders = folders.iter().filter_map(|folder| folder.read_dir().ok());
    let mut found: Vec<PathBuf> = folders.flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

/// What qemu-img found that it should not have.
fn problems(told: &Value, path: &Path, size: u64) -> Vec<String> {
    let mut problems = Vec::new();
    // It rounds up to whole sectors.
    match told["virtual-size"].as_u64() {
        Some(larger) if larger > size.div_ceil(512).saturating_mul(512) => {
            problems.push(format!("has {larger} bytes, not {size}"));
        }
        Some(_) => {}
        None => problems.push("has no size".into()),
    }
    let data = &told["format-specific"]["data"];
    for (what, value) in [
        ("backing file", &told["backing-filename"]),
        ("data file", &data["data-file"]),
    ] {
        if !value.is_null() {
            problems.push(format!("has the {what} {value}"));
        }
    }
    for extent in data["extents"].as_array().into_iter().flatten() {
        if extent["filename"].as_str() != path.to_str() {
            problems.push(format!("has the extent {}", extent["filename"]));
        }
    }
    problems
}
