//! The floor of large deliveries: a file over a loopback connection into a file, and an fsync before the answer.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

const PIECE: usize = 256 * 1024;

/// Carries `from` into `to`; returns when it is safe there.
pub(crate) fn carry(from: &Path, to: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut file = File::create_new(to).unwrap();
            let mut piece = vec![0; PIECE];
            loop {
                match stream.read(&mut piece).unwrap() {
                    0 => break,
                    n => file.write_all(&piece[..n]).unwrap(),
                }
            }
            file.sync_all().unwrap();
            stream.write_all(b"200 stored\r\n").unwrap();
        });
        let mut stream = TcpStream::connect(address).unwrap();
        let mut file = File::open(from).unwrap();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece).unwrap() {
                0 => break,
                n => stream.write_all(&piece[..n]).unwrap(),
            }
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"200 stored\r\n");
    });
}
