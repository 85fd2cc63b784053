//! Times and sizes as people read them, on the page and in a terminal.

/// How long something lasted, to a unit that says enough: `42 s`, `5 min`, `3 h`, `12 d`.
pub fn lasting(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A short time: `1.5 ms`, `2.000 s`.
pub fn brief(seconds: f64) -> String {
    match seconds {
        less if less < 1.0 => format!("{:.1} ms", less * 1e3),
        more => format!("{more:.3} s"),
    }
}

/// So many bytes: `512 B`, `1.5 KiB`, `3.0 GiB`.
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut size, mut unit) = (count as f64 / 1024.0, "KiB");
    for larger in ["MiB", "GiB", "TiB", "PiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_the_unit_that_says_enough() {
        let times =
            [(0.4, "0 s"), (119.9, "119 s"), (120.0, "2 min"), (7_200.0, "2 h"), (1e6, "11 d")];
        for (seconds, said) in times {
            assert_eq!(lasting(seconds), said);
        }
        for (count, said) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(bytes(count), said);
        }
        assert_eq!((brief(0.0015), brief(2.0)), ("1.5 ms".to_owned(), "2.000 s".to_owned()));
    }
}
