//! Is KVM real? A device node and a kernel that accepts ioctls prove nothing on a cloud's own guests: some run
//! "hardware" guests by emulation, far slower than QEMU's translation. So a small 64-bit guest counts to 20
//! million, and KVM is used if it needs less than a second.

use base::{Error, Result};
use nix::libc;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 20_000_000;
const LIMIT: Duration = Duration::from_secs(1);
const MEMORY: usize = 0x20_0000;

const KVM_GET_API_VERSION: u64 = 0xae00;
const KVM_CREATE_VM: u64 = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: u64 = 0xae04;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const KVM_RUN: u64 = 0xae80;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_SET_SREGS: u64 = 0x4138_ae84;
const EXIT_IO: u32 = 2;
const EXIT_HLT: u32 = 5;

#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest: u64,
    size: u64,
    address: u64,
}

/// General registers in the kernel's order: rax rbx rcx rdx rsi rdi rsp rbp r8-r15 rip rflags.
type Registers = [u64; 18];
const RSP: usize = 6;
const RIP: usize = 16;
const RFLAGS: usize = 17;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
}

/// cs ds es fs gs ss tr ldt; gdt idt; cr0 cr2 cr3 cr4 cr8 efer apic_base; interrupt bitmap.
#[repr(C)]
struct Special {
    segments: [Segment; 8],
    tables: [u64; 4],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

/// `Ok(how long)` if KVM runs guests at the processor's speed; else why not. Blocks for a second at most.
pub fn probe() -> Result<Duration> {
    // A guest that is stuck in the kernel is left by a signal only, so the counting has a thread of its own.
    let handle = std::thread::spawn(count);
    handle
        .join()
        .map_err(|_| Error::internal("the KVM probe panicked"))?
}

fn fail(what: &str) -> Error {
    Error::unavailable(format!("{what}: {}", std::io::Error::last_os_error()))
}

fn ioctl(fd: RawFd, request: u64, argument: u64, what: &str) -> Result<i32> {
    // SAFETY: `argument` is a number or the address of a live value of the type that `request` asks for.
    match unsafe { libc::ioctl(fd, request as _, argument) } {
        result if result < 0 => Err(fail(what)),
        result => Ok(result),
    }
}

/// A mapping that ends with its owner.
struct Mapping {
    start: *mut u8,
    size: usize,
}

impl Mapping {
    fn new(size: usize, file: Option<RawFd>) -> Result<Mapping> {
        let flags = if file.is_some() {
            libc::MAP_SHARED
        } else {
            libc::MAP_SHARED | libc::MAP_ANONYMOUS
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                flags,
                file.unwrap_or(-1),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            Err(fail("mmap"))
        } else {
            Ok(Mapping {
                start: start.cast(),
                size,
            })
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.size, "inside the mapping");
        // SAFETY: the range was checked; nobody else knows the mapping while it is written.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) }
    }

    fn read_u32(&self, at: usize) -> u32 {
        assert!(at + 4 <= self.size, "inside the mapping");
        // SAFETY: the range was checked; the kernel writes it only while the processor runs.
        unsafe { self.start.add(at).cast::<u32>().read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by mmap with this size, and unmapped once.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a descriptor that the kernel has just made for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn count() -> Result<Duration> {
    let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    let kvm = kvm.map_err(|e| Error::unavailable(format!("/dev/kvm: {e}")))?;
    if ioctl(
        kvm.as_raw_fd(),
        KVM_GET_API_VERSION,
        0,
        "KVM_GET_API_VERSION",
    )? != 12
    {
        return Err(Error::unavailable("KVM speaks another version"));
    }
    let memory = Mapping::new(MEMORY, None)?;
    let machine = owned(ioctl(kvm.as_raw_fd(), KVM_CREATE_VM, 0, "KVM_CREATE_VM")?);
    let region = Region {
        slot: 0,
        flags: 0,
        guest: 0,
        size: MEMORY as u64,
        address: memory.start as u64,
    };
    let address = &raw const region as u64;
    ioctl(
        machine.as_raw_fd(),
        KVM_SET_USER_MEMORY_REGION,
        address,
        "KVM_SET_USER_MEMORY_REGION",
    )?;
    let processor = owned(ioctl(
        machine.as_raw_fd(),
        KVM_CREATE_VCPU,
        0,
        "KVM_CREATE_VCPU",
    )?);
    let size = ioctl(
        kvm.as_raw_fd(),
        KVM_GET_VCPU_MMAP_SIZE,
        0,
        "KVM_GET_VCPU_MMAP_SIZE",
    )?;
    let shared = Mapping::new(size as usize, Some(processor.as_raw_fd()))?;

    // Identity-mapped by one 2 MiB page: three tables.
    for (at, entry) in [(0x2000, 0x3003u64), (0x3000, 0x4003), (0x4000, 0x83)] {
        memory.write(at, &entry.to_le_bytes());
    }
    // mov ecx, ROUNDS; dec ecx; jnz -4; mov edx, 0xe9; mov al, 'K'; out dx, al; hlt
    let mut code = vec![0xb9];
    code.extend(ROUNDS.to_le_bytes());
    code.extend([
        0xff, 0xc9, 0x75, 0xfc, 0xba, 0xe9, 0, 0, 0, 0xb0, b'K', 0xee, 0xf4,
    ]);
    memory.write(0x1000, &code);
    long_mode(processor.as_raw_fd())?;

    run(processor.as_raw_fd(), &shared)
}

fn long_mode(processor: RawFd) -> Result<()> {
    // SAFETY: all fields are integers; zero is a value of each.
    let mut special: Special = unsafe { std::mem::zeroed() };
    ioctl(
        processor,
        KVM_GET_SREGS,
        &raw mut special as u64,
        "KVM_GET_SREGS",
    )?;
    let code = Segment {
        limit: u32::MAX,
        selector: 8,
        kind: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Segment::default()
    };
    let data = Segment {
        selector: 16,
        kind: 3,
        db: 1,
        l: 0,
        ..code
    };
    special.segments[0] = code;
    special.segments[1..6].fill(data);
    (special.cr0, special.cr3, special.cr4, special.efer) = (0x8000_0011, 0x2000, 0x20, 0x500);
    ioctl(
        processor,
        KVM_SET_SREGS,
        &raw const special as u64,
        "KVM_SET_SREGS",
    )?;
    let mut registers: Registers = [0; 18];
    (registers[RIP], registers[RFLAGS], registers[RSP]) = (0x1000, 2, 0x8000);
    ioctl(
        processor,
        KVM_SET_REGS,
        &raw const registers as u64,
        "KVM_SET_REGS",
    )
    .map(drop)
}

fn run(processor: RawFd, shared: &Mapping) -> Result<Duration> {
    let alarm = Alarm::start(LIMIT)?;
    let started = Instant::now();
    let mut spoken = false;
    let result = loop {
        if ioctl(processor, KVM_RUN, 0, "KVM_RUN").is_err() {
            break Err(Error::unavailable(
                "KVM guests are emulated, not executed: too slow",
            ));
        }
        match shared.read_u32(8) {
            EXIT_IO => spoken = true,
            EXIT_HLT if spoken => break Ok(started.elapsed()),
            other => {
                break Err(Error::unavailable(format!(
                    "KVM guest ended with exit reason {other}"
                )));
            }
        }
        if started.elapsed() > LIMIT {
            break Err(Error::unavailable("KVM guests are too slow"));
        }
    };
    drop(alarm);
    result
}

/// Interrupts `KVM_RUN` on this thread after a while, by a signal to the thread alone.
struct Alarm {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

extern "C" fn nothing(_: i32) {}

impl Alarm {
    fn start(after: Duration) -> Result<Alarm> {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        // SIGURG: ignored by default everywhere, so a late one harms nobody. No SA_RESTART: it must interrupt.
        let action = SigAction::new(
            SigHandler::Handler(nothing),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGURG, &action) }.map_err(Error::internal)?;
        let target = nix::sys::pthread::pthread_self();
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut wait = after;
            // Again and again: a signal just before the ioctl would be lost.
            while stopped.recv_timeout(wait) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = nix::sys::pthread::pthread_kill(target, Signal::SIGURG);
                wait = Duration::from_millis(50);
            }
        });
        Ok(Alarm {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_in_time() {
        let started = Instant::now();
        println!("kvm: {:?}", probe());
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(std::mem::size_of::<Special>(), 0x138);
        assert_eq!(std::mem::size_of::<Registers>(), 0x90);
        assert_eq!(std::mem::size_of::<Region>(), 0x20);
    }
}
