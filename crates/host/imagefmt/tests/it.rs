//! Images as qemu-img makes them, and images as an attacker would.

use host_imagefmt::{Format, Inspection, Inspector, convert, create, inspect_file};
use host_privsep::{Privsep, Program};
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("imagefmt-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stream(bytes: &[u8], step: usize) -> Inspection {
    let mut inspector = Inspector::new();
    bytes.chunks(step).for_each(|chunk| inspector.feed(chunk));
    inspector.finish()
}

#[tokio::test]
async fn what_qemu_makes_is_known_and_safe() {
    let host = Privsep::new();
    let folder = Folder::new("made");
    let cases = [
        ("qcow2", "", Format::Qcow2),
        ("raw", "", Format::Raw),
        ("vdi", "", Format::Vdi),
        ("vmdk", "subformat=monolithicSparse", Format::Vmdk),
        ("vmdk", "subformat=streamOptimized", Format::Vmdk),
        ("vpc", "subformat=dynamic,force_size=on", Format::Vhd),
        ("vpc", "subformat=fixed,force_size=on", Format::Vhd),
        ("vhdx", "", Format::Vhdx),
    ];
    for (qemu, options, format) in cases {
        let path = folder.0.join(format!("{qemu}{options}"));
        let mut command = host
            .command(Program::QemuImg)
            .args(["create", "-q", "-f", qemu]);
        if !options.is_empty() {
            command = command.args(["-o", options]);
        }
        command.arg(&path).arg("16M").run().await.unwrap();
        let seen = inspect_file(&path).await.unwrap();
        assert_eq!(
            (seen.format, seen.virtual_size),
            (format, 16 * MIB),
            "{qemu} {options}"
        );
        assert_eq!(seen.safety, Ok(()), "{qemu} {options}");
        let bytes = std::fs::read(&path).unwrap();
        for step in [100, 4096, 1 << 20] {
            let streamed = stream(&bytes, step);
            assert_eq!(
                (streamed.format, streamed.virtual_size),
                (format, 16 * MIB),
                "{qemu} by {step}"
            );
            assert_eq!(streamed.actual_size, bytes.len() as u64);
            assert_eq!(streamed.safety, Ok(()));
        }
    }
}

#[tokio::test]
async fn what_names_other_files_is_refused() {
    let host = Privsep::new();
    let folder = Folder::new("hostile");
    let base = folder.0.join("base");
    create(&host, &base, Format::Qcow2, MIB, None)
        .await
        .unwrap();
    let overlay = folder.0.join("overlay");
    create(
        &host,
        &overlay,
        Format::Qcow2,
        0,
        Some((&base, Format::Qcow2)),
    )
    .await
    .unwrap();
    let seen = inspect_file(&overlay).await.unwrap();
    assert!(
        seen.require_safe()
            .unwrap_err()
            .message()
            .contains("backing file")
    );

    let data = folder.0.join("data");
    let options = format!("data_file={}", folder.0.join("elsewhere").display());
    let args = ["create", "-q", "-f", "qcow2", "-o", &options];
    host.command(Program::QemuImg)
        .args(args)
        .arg(&data)
        .arg("1M")
        .run()
        .await
        .unwrap();
    assert!(inspect_file(&data).await.unwrap().safety.is_err());

    let flat = folder.0.join("flat.vmdk");
    let args = [
        "create",
        "-q",
        "-f",
        "vmdk",
        "-o",
        "subformat=monolithicFlat",
    ];
    host.command(Program::QemuImg)
        .args(args)
        .arg(&flat)
        .arg("1M")
        .run()
        .await
        .unwrap();
    assert!(inspect_file(&flat).await.unwrap().safety.is_err());

    // A qcow2 header at the front, an ISO behind it: whoever trusts the ISO opens the qcow2.
    let mut bytes = std::fs::read(&base).unwrap();
    bytes[32769..32774].copy_from_slice(b"CD001");
    assert!(stream(&bytes, 512).safety.unwrap_err()[0].contains("both"));
    // Cut short in the header.
    assert!(stream(&bytes[..20], 7).safety.is_err());
}

#[tokio::test]
async fn conversion_keeps_the_size() {
    let host = Privsep::new();
    let folder = Folder::new("convert");
    let (from, to) = (folder.0.join("a.qcow2"), folder.0.join("a.raw"));
    create(&host, &from, Format::Qcow2, 3 * MIB, None)
        .await
        .unwrap();
    convert(&host, &from, &to, Format::Qcow2, Format::Raw)
        .await
        .unwrap();
    assert_eq!(std::fs::metadata(&to).unwrap().len(), 3 * MIB);
    assert!(
        convert(&host, &to, &from, Format::Qcow2, Format::Raw)
            .await
            .is_err()
    );
}

/// Whatever a stranger's file makes qemu-img do ends, and fits into the memory of the host.
#[tokio::test]
async fn ossa_2016_012_qemu_img_is_held_to_limits() {
    let (host, heard) = Privsep::recorder();
    let (from, to) = (PathBuf::from("a"), PathBuf::from("b"));
    convert(&host, &from, &to, Format::Vmdk, Format::Raw)
        .await
        .unwrap();
    let calls = heard.calls();
    let [call] = &calls[..] else {
        panic!("{calls:?}")
    };
    let limits = call.limits.unwrap();
    assert!((1..=3600).contains(&limits.cpu_seconds), "{limits:?}");
    assert!((1..=4 << 30).contains(&limits.address_space), "{limits:?}");
    // Told the format, it does not guess another.
    let line = call.line();
    assert!(line.contains("-f vmdk -O raw"), "{line}");
}

#[test]
fn partitioned_and_empty_disks_are_raw() {
    let mut disk = vec![0; 4096];
    assert_eq!(stream(&disk, 1000).format, Format::Raw);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    let seen = stream(&disk, 1000);
    assert!(seen.format.agrees_with("raw") && seen.safety.is_ok());
    disk[446 + 8] = 9;
    assert!(stream(&disk, 1000).safety.is_err());
    assert_eq!(Inspector::new().finish().virtual_size, 0);
}

/// A stream-optimised vmdk: header, descriptor, and a footer that says where the grains are.
fn streamed_vmdk(capacity: u64, footer_capacity: u64) -> Vec<u8> {
    let header = |capacity: u64, directory: u64| {
        let mut sector = vec![0u8; 512];
        sector[..8].copy_from_slice(b"KDMV\x03\0\0\0");
        for (at, number) in [(12, capacity), (20, 128), (28, 1), (36, 1), (56, directory)] {
            sector[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        sector
    };
    let mut descriptor = b"# Disk DescriptorFile\ncreateType=\"streamOptimized\"\n".to_vec();
    descriptor.extend(b"RDONLY 2048 SPARSE \"disk.vmdk\"\n");
    descriptor.resize(512, 0);
    let mut marker = vec![0u8; 512];
    marker[12] = 3;
    let parts = [
        header(capacity, u64::MAX),
        descriptor,
        vec![0; 70_000],
        marker,
        header(footer_capacity, 2),
        vec![0; 512],
    ];
    parts.concat()
}

#[tokio::test]
async fn a_vmdk_says_the_same_at_both_ends() {
    let folder = Folder::new("footer");
    let cases = [
        (2048, 2048, None),
        (2048, 2 << 30, Some("footer")),
        (0, 0, Some("capacity")),
    ];
    for (capacity, footer, wrong) in cases {
        let bytes = streamed_vmdk(capacity, footer);
        let path = folder.0.join("streamed.vmdk");
        std::fs::write(&path, &bytes).unwrap();
        for seen in [stream(&bytes, 700), inspect_file(&path).await.unwrap()] {
            assert_eq!(seen.format, Format::Vmdk);
            match (wrong, &seen.safety) {
                (None, Ok(())) => assert_eq!(seen.virtual_size, MIB),
                (Some(word), Err(problems)) => assert!(problems[0].contains(word), "{problems:?}"),
                other => panic!("{capacity} {footer}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_vhd_is_as_large_as_qemu_will_find_it() {
    let host = Privsep::new();
    let folder = Folder::new("vhd");
    let path = folder.0.join("geometry.vhd");
    let args = ["create", "-q", "-f", "vpc", "-o", "subformat=fixed"];
    let command = host.command(Program::QemuImg).args(args).arg(&path);
    command.arg("64M").run().await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let honest = stream(&bytes, 4096).virtual_size;
    // One field says 1 MiB, the other still what it said; qemu goes by the latter for disks that it made itself.
    let footer = bytes.len() - 512;
    bytes[footer + 48..footer + 56].copy_from_slice(&MIB.to_be_bytes());
    assert_eq!(stream(&bytes, 4096).virtual_size, honest);
}
