//! `uftd`, the daemon: command line and configuration file, then [`uft::daemon`].

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Parser;
use tracing_subscriber::EnvFilter;
use uft::cli::uftd::{LogFormat, Uftd};
use uft::config::{Config, Source};
use uft::display::chain;

const CONFIG: &str = "/etc/uft/uftd.toml";

fn main() -> ExitCode {
    let args = match Uftd::try_parse() {
        Ok(args) => args,
        Err(err) => {
            let _ = err.print();
            return ExitCode::from(if err.use_stderr() { 2 } else { 0 });
        }
    };
    let config = match configuration(&args) {
        Ok(config) => config,
        Err(err) => {
            eprintln!("uftd: {err:#}");
            return ExitCode::from(2);
        }
    };
    if args.check {
        // A reader that has seen enough (`--check | head`) is no failure.
        let _ = std::io::stdout().write_all(config.effective().as_bytes());
        return ExitCode::SUCCESS;
    }
    start_log(args.log_format);
    match run(config, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("uftd: {}", chain(err.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, args: Uftd) -> anyhow::Result<()> {
    let built_in = config_file(&args).is_none();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let reload = || configuration(&args).map_err(|err| format!("{err:#}"));
    let ready = |addresses: &[SocketAddr]| {
        if built_in && let Some(address) = addresses.first() {
            println!("{}", next_step(*address));
        }
    };
    let ended = runtime.block_on(uft::daemon::run(config, reload, ready));
    // Threads stuck in a write to a dead disk must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ended.map_err(anyhow::Error::from)
}

/// The configuration file to read, if there is one.
fn config_file(args: &Uftd) -> Option<PathBuf> {
    args.config
        .clone()
        .or_else(|| Path::new(CONFIG).exists().then(|| PathBuf::from(CONFIG)))
}

fn configuration(args: &Uftd) -> anyhow::Result<Config> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut config = match config_file(args) {
        Some(path) => {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("configuration {}: cannot be read", path.display()))?;
            Config::parse(&text, &hostname).with_context(|| format!("configuration {}", path.display()))?
        }
        None => built_in(&hostname)?,
    };
    uft::daemon::check_accounts(&config).map_err(|err| anyhow!("configuration: {err}"))?;
    if !args.listen.is_empty() {
        config.uft.listen.clone_from(&args.listen);
    }
    if let Some(spool) = &args.spool {
        let spool = std::path::absolute(spool).context("--spool")?;
        // The built-in socket lives in the spool and moves with it.
        if config.socket == config.spool.join("uftd.sock") {
            config.socket = spool.join("uftd.sock");
        }
        config.spool = spool;
    }
    if let Some(socket) = &args.socket {
        config.socket = std::path::absolute(socket).context("--socket")?;
    }
    Ok(config)
}

/// The defaults for trying it out: whoever runs the daemon has an inbox, and as root everybody on the system.
fn built_in(hostname: &str) -> anyhow::Result<Config> {
    let state = uft::local::state_dir().ok_or_else(|| {
        anyhow!("neither XDG_STATE_HOME nor HOME is set: name a directory with --spool, or a --config")
    })?;
    let mut config = Config::built_in(hostname, state);
    if !rustix::process::geteuid().is_root() {
        config.users.source = Source::List;
        config.users.list = uft::local::own_name().into_iter().collect();
    }
    Ok(config)
}

/// What to type next, for somebody who has just started the daemon by hand.
fn next_step(address: SocketAddr) -> String {
    let me = uft::local::own_name().map_or_else(|| "USER".to_owned(), |name| name.to_string());
    let sibling = std::env::current_exe().ok().and_then(|exe| {
        let sendfile = exe.with_file_name("sendfile");
        sendfile.exists().then_some(sendfile)
    });
    let (sendfile, uft) = match sibling {
        Some(path) if !path.components().any(|part| part.as_os_str() == "target") => (
            path.display().to_string(),
            path.with_file_name("uft").display().to_string(),
        ),
        _ => (
            "cargo run --release --bin sendfile --".into(),
            "cargo run --release --bin uft --".into(),
        ),
    };
    format!(
        "uftd: ready; in a second terminal, send yourself a file and look at your inbox:\n  \
         {sendfile} {me}@{address} README.md\n  {uft} ls"
    )
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("UFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            log.with_ansi(colour).init();
        }
        LogFormat::Json => log.json().init(),
    }
}
