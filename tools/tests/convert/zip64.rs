//! Zip files of zarr whose numbers have 64 bits, as they have beyond 4 GiB or 65,535 entries; whole ones and damaged ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use cellring_tools::convert::ConvertOptions;

use crate::{names, python, run_convert, scratch};

/// Makes a small hierarchy and four zip files of it: plain; every number of an entry of 64 bits; also those of the directory,
/// which the ordinary end then leaves to the other one; and one of more than 65,535 entries.
const SCRIPT: &str = "
import pathlib, sys, zipfile
import anndata, numpy, scipy.sparse
folder = pathlib.Path(sys.argv[1])
matrix = scipy.sparse.random(40, 30, 0.3, 'csr', dtype='f4', random_state=1)
anndata.AnnData(matrix).write_zarr(folder / 'z.zarr')
def archive(name, n_more=0):
    with zipfile.ZipFile(folder / name, 'w') as file:
        for path in sorted((folder / 'z.zarr').rglob('*')):
            if path.is_file():
                file.write(path, path.relative_to(folder / 'z.zarr').as_posix())
        for number in range(n_more):
            file.writestr(f'uns/{number}', b'')
archive('plain.zarr.zip')
archive('many.zarr.zip', 66000)
zipfile.ZIP64_LIMIT = 0
archive('large.zarr.zip')
data = bytearray((folder / 'large.zarr.zip').read_bytes())
assert data[-22:-18] == b'PK\\5\\6' and data[-42:-38] == b'PK\\6\\7'
data[-14:-2] = b'\\xff' * 12
(folder / 'larger.zarr.zip').write_bytes(data)
";

/// The same message whatever the directory is called, or that the conversion succeeded.
fn outcome(input: &Path, store: &Path) -> Result<(), String> {
    let options = ConvertOptions {
        force: true,
        ..ConvertOptions::default()
    };
    let done = run_convert(input, store, &options);
    done.map(|_| ()).map_err(|error| error.to_string())
}

/// In a thread of its own, so that one that hangs fails the test.
fn bounded(what: String, input: &Path, store: &Path) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let (input, store): (PathBuf, PathBuf) = (input.to_owned(), store.to_owned());
    std::thread::spawn(move || sender.send(outcome(&input, &store)));
    let outcome = receiver.recv_timeout(Duration::from_secs(60));
    outcome.unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn zip64_is_read_and_checked() {
    let directory = scratch();
    let made = Command::new(python())
        .args(["-W", "ignore", "-c", SCRIPT])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| directory.path().join(name);
    let manifest = |name: &str| {
        let store = path(&format!("{name}.cellring"));
        outcome(&path(name), &store).unwrap_or_else(|message| panic!("{name}: {message}"));
        let files = names(&store).into_iter().filter(|file| file != "manifest.json");
        files
            .map(|file| std::fs::read(store.join(file)).unwrap())
            .collect::<Vec<_>>()
    };
    let expected = manifest("z.zarr");
    for name in ["plain", "many", "large", "larger"] {
        assert!(manifest(&format!("{name}.zarr.zip")) == expected, "{name}");
    }

    let store = path("damaged.cellring");
    let damaged = path("damaged.zarr.zip");
    let mut n_refused = 0;
    for name in ["large", "larger"] {
        let whole = std::fs::read(path(&format!("{name}.zarr.zip"))).unwrap();
        let end = whole.len();
        let large_end = end - 22 - 20 - 56;
        assert_eq!(whole[large_end..large_end + 4], *b"PK\x06\x06");
        // Every byte of the three records at the end, and some of the last entries of the directory.
        let places = (large_end..end).chain((large_end - 400..large_end).step_by(7));
        for at in places {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= mask;
                std::fs::write(&damaged, &bytes).unwrap();
                if let Err(message) = bounded(format!("{name}, byte {at}"), &damaged, &store) {
                    n_refused += 1;
                    assert!(message.contains("damaged.zarr.zip"), "{message}");
                }
            }
        }
        // What tells where things lie, one by one.
        for (at, value, part) in [
            (large_end, 0, "Zip64 end of the zip file"),
            (large_end + 4, 1 << 40, "Zip64 end of the zip file"),
            (
                large_end + 32,
                1,
                if name == "large" {
                    "two ends"
                } else {
                    "its end says 1"
                },
            ),
            (large_end + 40, u64::MAX, "zip file"),
            (large_end + 48, u64::MAX - 5, "zip file"),
            (large_end + 56 + 8, u64::MAX, "Zip64 end of the zip file"),
            (large_end + 56 + 8, 0, "Zip64 end of the zip file"),
            // Where the ordinary end has the numbers the other one is not missed.
            (
                large_end + 56,
                0,
                if name == "large" { "" } else { "which is not there" },
            ),
        ] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
            std::fs::write(&damaged, &bytes).unwrap();
            let outcome = bounded(format!("{name}, {value} at {at}"), &damaged, &store);
            let Err(message) = outcome else {
                assert!(part.is_empty(), "{name}: {value} at {at} is taken");
                continue;
            };
            assert!(message.contains(part) && !message.contains(". "), "{message}");
        }
        for cut in [1, 22, 42, 98, 99, end / 2] {
            std::fs::write(&damaged, &whole[..end - cut]).unwrap();
            let message = bounded(format!("{name} without {cut} bytes"), &damaged, &store).unwrap_err();
            assert!(
                message.contains("truncated") || message.contains("zip file"),
                "{message}"
            );
        }
    }
    assert!(n_refused > 300, "{n_refused}");
}
