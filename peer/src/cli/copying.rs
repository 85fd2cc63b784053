//! Has the C library copy memory without `rep movsb` where the processor is slow at that.
//!
//! AMD's processors from Zen 3 on copy at a twentieth of their speed with it, if the destination is
//! a few bytes behind the source within a page, as decrypted records of TLS are
//! (<https://sourceware.org/bugzilla/show_bug.cgi?id=30994>). The GNU C library avoids that since
//! 2.40; the older ones of today's distributions can be told to, but only before a process starts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where the GNU C library is told (`man ld.so`).
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Its smallest copy with `rep movsb`, in bytes.
const THRESHOLD: &str = "glibc.cpu.x86_rep_movsb_threshold";

/// Larger than any copy.
const NEVER: &str = "1073741824";

/// Set in a process that was started anew: it must not be so again, whatever became of the variable
/// above. The C library ignores that in a process with the rights of a file.
const MARK: &str = "_OPS_PROXY_COPYING";

/// Starts this process anew, with the same id, files and arguments, if it would copy slowly. Returns
/// if it does not, or is told how to copy already, or cannot be started anew: slow copies are no
/// reason to fail.
pub(super) fn be_fast() {
    if !cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")) {
        return;
    }
    let told = std::env::var_os(TUNABLES);
    let Some(tunables) = tunables(told.as_deref()) else { return };
    if std::env::var_os(MARK).is_some() || !first_processor().is_ok_and(|cpuinfo| is_slow(&cpuinfo))
    {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let _error = command.args(arguments).env(TUNABLES, tunables).env(MARK, "1").exec();
}

/// Whether this process was started anew, and the C library was told.
pub(super) fn was_slow() -> bool {
    std::env::var_os(MARK).is_some() && tunables(std::env::var_os(TUNABLES).as_deref()).is_none()
}

/// The beginning of `/proc/cpuinfo`. All processors are alike, and there may be many.
fn first_processor() -> io::Result<String> {
    const BYTES: u64 = 8192;
    let mut cpuinfo = String::new();
    File::open("/proc/cpuinfo")?.take(BYTES).read_to_string(&mut cpuinfo)?;
    Ok(cpuinfo)
}

/// What the C library is to be told beside what it is; `None` if somebody has seen to that.
fn tunables(told: Option<&OsStr>) -> Option<OsString> {
    let mut tunables = told.unwrap_or_default().to_owned();
    if tunables.to_string_lossy().contains(THRESHOLD) {
        return None;
    }
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push(format!("{THRESHOLD}={NEVER}"));
    Some(tunables)
}

/// Whether `/proc/cpuinfo` tells of a processor for which old C libraries choose `rep movsb`, and
/// should not.
fn is_slow(cpuinfo: &str) -> bool {
    let value = |key: &str| {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|name| name.trim() == key);
        let line = cpuinfo.lines().find(is_it)?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let is_amd = matches!(value("vendor_id"), Some("AuthenticAMD" | "HygonGenuine"));
    is_amd && value("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "erms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_told_the_c_library_stays() {
        let ours = "glibc.cpu.x86_rep_movsb_threshold=1073741824";
        let with = |told: Option<&str>| tunables(told.map(OsStr::new));
        assert_eq!(with(None).unwrap(), ours);
        assert_eq!(with(Some("")).unwrap(), ours);
        let other = "glibc.malloc.arena_max=2";
        assert_eq!(with(Some(other)).unwrap(), format!("{other}:{ours}").as_str());
        assert_eq!(with(Some("glibc.cpu.x86_rep_movsb_threshold=2048")), None);
    }

    #[test]
    fn only_processors_that_are_slow_at_it_are_spared() {
        let cpu = |vendor: &str, flags: &str| {
            format!(
                "processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: x\nflags\t\t: {flags}\n\n"
            )
        };
        assert!(is_slow(&cpu("AuthenticAMD", "fpu erms fsrm")));
        // Zen 2 and before: the C library does not choose it there.
        assert!(!is_slow(&cpu("AuthenticAMD", "fpu avx2")));
        assert!(!is_slow(&cpu("GenuineIntel", "fpu erms fsrm")));
        assert!(!is_slow("processor : 0\nBogoMIPS : 50.00\nFeatures : fp asimd\n"));
    }
}
