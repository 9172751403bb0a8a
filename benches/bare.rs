//! What any program must do that makes the files of so many volumes durably, and nothing else: `benches/speed` holds `kiln apply` against
//! it. Prints the seconds that it took.
//!
//!     cargo bench --bench bare -- DIRECTORY VOLUMES BYTES WORKERS

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::allow_attributes, reason = "it prints, and it may panic")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [pool, volumes, bytes, workers] = arguments.as_slice() else {
        // Asked for with all the benches.
        return;
    };
    let (pool, volumes, bytes): (&Path, u64, u64) = (Path::new(pool), volumes.parse().unwrap(), bytes.parse().unwrap());
    let next = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers.parse().unwrap() {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < volumes) {
                    make(pool, number, bytes);
                }
            });
        }
    });
    println!("{}", began.elapsed().as_secs_f64());
}

/// One volume as the local driver lays it out: whole under another name, durable, and published by one rename.
fn make(pool: &Path, number: u64, bytes: u64) {
    let native = format!("kiln.bench.volume-{number:06}.abcdefgh");
    let making = pool.join(format!("kiln-tmp.bench.volume-{number:06}.abcdefgh"));
    DirBuilder::new().mode(0o700).create(&making).unwrap();
    let image = making.join(format!("{native}.img"));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(image).unwrap();
    file.set_len(bytes).unwrap();
    file.sync_all().unwrap();
    File::open(&making).unwrap().sync_all().unwrap();
    fs::rename(&making, pool.join(native)).unwrap();
    File::open(pool).unwrap().sync_all().unwrap();
}
