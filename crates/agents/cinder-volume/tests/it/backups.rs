//! Backups of real files, read back by their bytes.

use crate::{GIB, Host, ctx, host, spec};
use base::Kind;
use cinder_types::{BackupRef, BackupSpec};
use cinder_volume::DriverKind;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

async fn volume(host: &Host, size: i64) -> (String, File) {
    let id = base::new_id();
    host.agent
        .create_volume(&ctx(), spec(&id, size, None))
        .await
        .unwrap();
    let path = host.folder.join(format!("volume-{id}"));
    let file = File::options().read(true).write(true).open(path).unwrap();
    (id, file)
}

fn backup(volume_id: &str) -> BackupRef {
    let id = base::new_id();
    BackupRef {
        prefix: format!("volume_{volume_id}/20261125/az_nova_backup_{id}"),
        container: None,
        id,
    }
}

fn of(volume_id: &str, backup: &BackupRef, parent: Option<&BackupRef>) -> BackupSpec {
    BackupSpec {
        backup: backup.clone(),
        volume_id: volume_id.into(),
        size: 1,
        parent: parent.cloned(),
        extra: json!({"bootable": true}),
        ..BackupSpec::default()
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all
}

/// The first place at which two files differ.
fn difference(a: &File, b: &File) -> Option<u64> {
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    (0..GIB).step_by(1 << 20).find(|at| {
        a.read_exact_at(&mut one, *at).unwrap();
        b.read_exact_at(&mut other, *at).unwrap();
        one != other
    })
}

#[tokio::test]
async fn what_is_restored_is_what_was_there() {
    let host = host(DriverKind::File, vec![]).await;
    let (id, file) = volume(&host, 1).await;
    let noise: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| n.wrapping_mul(2654435761).to_be_bytes())
        .collect();
    file.write_all_at(&noise, 0).unwrap();
    file.write_all_at(b"middle", 700 << 20).unwrap();
    file.write_all_at(b"end", GIB - 3).unwrap();
    let full = backup(&id);
    for _ in 0..2 {
        let made = host
            .backups
            .create_backup(&ctx(), of(&id, &full, None))
            .await
            .unwrap();
        assert_eq!((made.object_count, made.size), (1, 1), "holes are not kept");
    }
    let kept: u64 = files(&host.folder.join("backups"))
        .iter()
        .map(|f| f.metadata().unwrap().len())
        .sum();
    assert!(kept < 8 << 20, "{kept}");

    // Something new, something that becomes zeros, and something that stays.
    file.write_all_at(b"new", 300 << 20).unwrap();
    file.write_all_at(&[0; 32 * 1024], 0).unwrap();
    let second = backup(&id);
    host.backups
        .create_backup(&ctx(), of(&id, &second, Some(&full)))
        .await
        .unwrap();
    let third = backup(&id);
    let last = host
        .backups
        .create_backup(&ctx(), of(&id, &third, Some(&second)))
        .await
        .unwrap();
    assert_eq!(last.object_count, 0, "nothing has changed");
    let found = host
        .backups
        .look_at_backup(&ctx(), second.clone())
        .await
        .unwrap();
    assert_eq!(found.extra, json!({"bootable": true}));
    assert_eq!(found.parent_prefix, Some(full.prefix.clone()));

    let (other, target) = volume(&host, 2).await;
    target.write_all_at(&[9; 4096], 500 << 20).unwrap();
    target.write_all_at(b"beyond", GIB).unwrap();
    let chain = vec![full.clone(), second.clone(), third.clone()];
    for _ in 0..2 {
        host.backups
            .restore_backup(&ctx(), chain.clone(), other.clone(), 2)
            .await
            .unwrap();
    }
    assert_eq!(difference(&file, &target), None);
    let mut beyond = [0; 6];
    target.read_exact_at(&mut beyond, GIB).unwrap();
    assert_eq!(&beyond, b"beyond", "what is larger than the backup stays");

    // A part that is left out is noticed, before anything is written.
    for chain in [vec![full.clone(), third.clone()], vec![second.clone()]] {
        let refused = host
            .backups
            .restore_backup(&ctx(), chain, other.clone(), 2)
            .await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    }
    host.backups
        .restore_backup(&ctx(), vec![full.clone()], other.clone(), 2)
        .await
        .unwrap();
    let mut before = [0; 4096];
    target.read_exact_at(&mut before, 0).unwrap();
    assert_eq!(before[..], noise[..4096], "it has what was there before");

    for one in [third, second, full] {
        for _ in 0..2 {
            host.backups
                .delete_backup(&ctx(), one.clone())
                .await
                .unwrap();
        }
    }
    assert_eq!(
        fs::read_dir(host.folder.join("backups")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn damage_and_half_backups_are_noticed() {
    let host = host(DriverKind::File, vec![]).await;
    let (id, file) = volume(&host, 1).await;
    let noise: Vec<u8> = (0..1u32 << 13)
        .flat_map(|n| n.wrapping_mul(2654435761).to_be_bytes())
        .collect();
    file.write_all_at(&noise, 5 << 20).unwrap();
    let one = backup(&id);
    // What a process that died left behind.
    let folder = host
        .folder
        .join("backups")
        .join(&one.id[..2])
        .join(&one.id[2..4])
        .join(&one.id);
    let rest = folder.join(format!("{}-00007.partial", one.prefix));
    fs::create_dir_all(rest.parent().unwrap()).unwrap();
    fs::write(&rest, "rest").unwrap();
    let half = host
        .backups
        .restore_backup(&ctx(), vec![one.clone()], id.clone(), 1)
        .await;
    assert_eq!(half.unwrap_err().kind(), Kind::NotFound);
    host.backups
        .create_backup(&ctx(), of(&id, &one, None))
        .await
        .unwrap();
    assert!(!rest.exists());

    let kept = folder.join(format!("{}-00001", one.prefix));
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let whole = fs::read(&kept).unwrap();
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 0x10;
    for wrong in [bent, whole[..whole.len() / 2].to_vec(), vec![]] {
        fs::write(&kept, wrong).unwrap();
        let damaged = host
            .backups
            .restore_backup(&ctx(), vec![one.clone()], id.clone(), 1)
            .await;
        assert_eq!(damaged.unwrap_err().kind(), Kind::Conflict);
    }
    fs::write(&kept, whole).unwrap();
    // A description that promises more than there may be.
    let described = folder.join(format!("{}_metadata", one.prefix));
    let text = fs::read_to_string(&described).unwrap();
    let size = format!("\"size\":{GIB}");
    assert!(text.contains(&size), "{text}");
    for wrong in [
        text.replace(&size, &format!("\"size\":{}", u64::MAX)),
        text.replace("\"length\":", "\"length\":9"),
        "{}".into(),
    ] {
        fs::write(&described, wrong).unwrap();
        let damaged = host
            .backups
            .restore_backup(&ctx(), vec![one.clone()], id.clone(), 1)
            .await;
        assert_eq!(damaged.unwrap_err().kind(), Kind::Conflict);
    }
    fs::write(&described, text).unwrap();
    host.backups
        .restore_backup(&ctx(), vec![one.clone()], id.clone(), 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn names_lead_nowhere_else() {
    let host = host(DriverKind::File, vec![]).await;
    let (id, _) = volume(&host, 1).await;
    let good = backup(&id);
    for (container, prefix) in [
        (Some("../volumes"), good.prefix.as_str()),
        (Some("/etc"), good.prefix.as_str()),
        (None, "../../etc/passwd"),
        (None, ""),
        (None, "volume_x"),
    ] {
        let bad = BackupRef {
            id: good.id.clone(),
            container: container.map(str::to_string),
            prefix: prefix.into(),
        };
        let made = host
            .backups
            .create_backup(&ctx(), of(&id, &bad, None))
            .await;
        assert_eq!(made.unwrap_err().kind(), Kind::BadRequest);
        let removed = host.backups.delete_backup(&ctx(), bad.clone()).await;
        assert_eq!(removed.unwrap_err().kind(), Kind::BadRequest);
        let looked = host.backups.look_at_backup(&ctx(), bad).await;
        assert_eq!(looked.unwrap_err().kind(), Kind::BadRequest);
    }
    let named = BackupRef {
        container: Some("mine".into()),
        ..good
    };
    host.backups
        .create_backup(&ctx(), of(&id, &named, None))
        .await
        .unwrap();
    assert_eq!(
        fs::read_dir(host.folder.join("backups/mine"))
            .unwrap()
            .count(),
        1
    );
}
