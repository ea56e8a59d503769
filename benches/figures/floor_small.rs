//! The floor of small deliveries: takes a connection, reads it to its end, and stores the bytes so that they survive
//! (write, fsync, rename, fsync of the directory) before it answers. Nothing is parsed, counted, checked or listed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Starts it with so many threads that accept; it ends with the process.
pub(crate) fn serve(dir: &Path, threads: usize) -> SocketAddr {
    fs::create_dir_all(dir.join("tmp")).unwrap();
    fs::create_dir_all(dir.join("new")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let number = Arc::new(AtomicU64::new(0));
    for _ in 0..threads {
        let (listener, number, dir) = (listener.try_clone().unwrap(), Arc::clone(&number), dir.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                take(stream, &dir, number.fetch_add(1, Ordering::Relaxed));
            }
        });
    }
    address
}

fn take(mut stream: TcpStream, dir: &Path, number: u64) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::with_capacity(2048);
    stream.read_to_end(&mut bytes).unwrap();
    let name = number.to_string();
    let from: PathBuf = dir.join("tmp").join(&name);
    let mut file = File::create_new(&from).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    fs::rename(from, dir.join("new").join(name)).unwrap();
    File::open(dir.join("new")).unwrap().sync_all().unwrap();
    stream.write_all(b"200 stored\r\n").unwrap();
}

/// Hands it one file and waits for the answer.
pub(crate) fn deliver(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"200 stored\r\n");
}
