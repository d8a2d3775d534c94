//! Keeps a GPU fed: each minibatch is multiplied, sparse times dense, by a matrix that lies there.
//!
//! ```sh
//! cellring convert tools/data/mousebrain10k.h5ad -o mouse.cellring
//! cargo run --release --example gpu --features cuda -- mouse.cellring
//! ```
//!
//! Copies have a stream of their own, kernels run on one of cudarc: while one minibatch is multiplied the next are read, decoded
//! and copied. The kernel is compiled when this starts, by NVRTC, which comes with the CUDA toolkit (or `pip install
//! nvidia-cuda-nvrtc-cu12`, and its directory in LD_LIBRARY_PATH).
#![allow(unsafe_code, reason = "launches a kernel")]
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use cellring::gpu::{Feed, Gpu, OnDevice, StagerConfig, Stream};
use cellring::{Loader, LoaderConfig, Minibatch, Store};
use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};

/// Columns of the dense matrix.
const N_OUT: usize = 256;

/// A block of threads for each row of the result, a thread for each of its columns.
const KERNEL: &str = r#"
extern "C" __global__ void spmm(const int *indptr, const int *indices, const float *values,
                                const float *dense, float *result, int n_out) {
    int row = blockIdx.x;
    for (int column = threadIdx.x; column < n_out; column += blockDim.x) {
        float sum = 0.0f;
        for (int k = indptr[row]; k < indptr[row + 1]; k++) {
            sum += values[k] * dense[(size_t)indices[k] * n_out + column];
        }
        result[(size_t)row * n_out + column] = sum;
    }
}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: gpu STORE")?;
    let gpu = match Gpu::open(0) {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    // SAFETY: loads a library of the CUDA toolkit, whose initialisers do no harm.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        println!(
            "skipped: libnvrtc is not there; install the CUDA toolkit, or put the directory of libnvrtc in LD_LIBRARY_PATH"
        );
        return Ok(());
    }
    let context = CudaContext::new(gpu.ordinal() as usize)?;
    let module = context.load_module(cudarc::nvrtc::compile_ptx(KERNEL)?)?;
    let spmm = module.load_function("spmm")?;
    let compute = context.new_stream()?;
    // SAFETY: `compute` lives longer than everything that is used on it: it was declared first.
    let kernels = unsafe { gpu.stream_from_raw(compute.cu_stream().cast()) };

    let store = Arc::new(Store::open(path)?);
    let config = LoaderConfig::default().gpu(gpu.clone());
    let batch_size = config.sampler.batch_size as usize;
    let loader = Loader::new(store, config)?;
    let n_vars = loader.collection().n_vars();
    let weights: Vec<f32> = (0..n_vars * N_OUT).map(|k| (k % 17) as f32 - 8.0).collect();
    let dense = compute.clone_htod(&weights)?;
    let mut result = compute.alloc_zeros::<f32>(batch_size * N_OUT)?;

    let copies = gpu.stream()?;
    let (since, mut cells) = (Instant::now(), 0);
    let mut feed = Feed::new(&gpu, &copies, loader.epoch(0)?, StagerConfig::DEFAULT)?;
    for minibatch in feed.by_ref() {
        let minibatch = minibatch?;
        let Some(csr) = minibatch.csr(&kernels)? else {
            return Err("minibatches are CSR by default".into());
        };
        let shape = LaunchConfig {
            grid_dim: (csr.shape[0] as u32, 1, 1),
            block_dim: (N_OUT.min(256) as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        let n_out = N_OUT as i32;
        let mut launch = compute.launch_builder(&spmm);
        launch.arg(&csr.indptr.address).arg(&csr.indices.address);
        launch
            .arg(&csr.values.address)
            .arg(&dense)
            .arg(&mut result)
            .arg(&n_out);
        // SAFETY: the arguments are those of the kernel: CSR with 32-bit indices and f32 values, a dense matrix with a row for each
        // of its columns, room for a row of the result for each of its rows.
        unsafe { launch.launch(shape) }?;
        if cells == 0 {
            let got = compute.clone_dtoh(&result)?;
            check(&minibatch, &kernels, &weights, &got)?;
        }
        cells += minibatch.n_obs();
    }
    compute.synchronize()?;
    let (seconds, stats) = (since.elapsed().as_secs_f64(), feed.stats());
    println!(
        "{}: {cells} cells x {n_vars} genes times {n_vars} x {N_OUT} in {seconds:.2} s, {:.0} cells/s; {} MiB in {} copies; {} MiB pinned",
        gpu.name(),
        cells as f64 / seconds,
        stats.bytes >> 20,
        stats.copies,
        gpu.pinned_bytes() >> 20,
    );
    if let Some(degraded) = gpu.degraded() {
        println!("{degraded}");
    }
    Ok(())
}

/// Compares the first product with one made here.
fn check(
    minibatch: &OnDevice<Minibatch>,
    stream: &Stream,
    weights: &[f32],
    got: &[f32],
) -> Result<(), Box<dyn Error>> {
    let words = |array| -> Result<Vec<[u8; 4]>, Box<dyn Error>> {
        Ok(minibatch.read_back(array, stream)?.as_chunks().0.to_vec())
    };
    let indptr: Vec<usize> = words(0)?
        .into_iter()
        .map(|word| i32::from_le_bytes(word) as usize)
        .collect();
    let indices: Vec<usize> = words(1)?
        .into_iter()
        .map(|word| i32::from_le_bytes(word) as usize)
        .collect();
    let values: Vec<f32> = words(2)?.into_iter().map(f32::from_le_bytes).collect();
    for (row, range) in indptr.windows(2).enumerate() {
        for column in 0..N_OUT {
            let terms = (range[0]..range[1])
                .map(|k| f64::from(values[k]) * f64::from(weights[indices[k] * N_OUT + column]));
            let (sum, most) = terms.fold((0.0, 1.0), |(sum, most), term| (sum + term, most + term.abs()));
            let found = f64::from(got[row * N_OUT + column]);
            if (found - sum).abs() > 1e-4 * most {
                return Err(format!("row {row}, column {column}: {found} on the GPU, {sum} here").into());
            }
        }
    }
    println!("the first product is the one that the CPU makes");
    Ok(())
}
