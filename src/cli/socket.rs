//! Where the local daemon's socket is.
//!
//! What it does *not* do: connect. A path that was named is used as it is; without one the first that exists counts.

use std::path::{Path, PathBuf};

/// Where a daemon that was installed listens.
const SYSTEM: &str = "/run/uft/uftd.sock";

/// `--socket`, then `UFT_SOCKET`, then the system's, then that of a daemon the user runs.
pub(crate) fn find(named: Option<&Path>) -> PathBuf {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = named {
        return path.to_owned();
    }
    if let Some(path) = variable("UFT_SOCKET") {
        return path;
    }
    let system = PathBuf::from(SYSTEM);
    let state = variable("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(".local/state")));
    let own = state.map(|state| state.join("uft").join("uftd.sock"));
    match own {
        Some(own) if !system.exists() => own,
        _ => system,
    }
}
