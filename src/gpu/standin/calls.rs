//! The calls that a stand-in takes.
#![allow(
    unsafe_code,
    reason = "reads from addresses, as the driver does; touches memory that is being unregistered"
)]

use std::collections::VecDeque;

use super::{Occurrence, Op, StandIn, refused};
use crate::gpu::driver::{DevicePtr, Driver, RawEvent, RawStream, Result, code};

impl Driver for StandIn {
    fn device_name(&self) -> String {
        "stand-in".into()
    }

    fn register(&self, start: *const u8, len_bytes: usize) -> Result<()> {
        const CALL: &str = "cuMemHostRegister";
        let mut state = self.lock();
        state.check(CALL)?;
        state.counts.registrations += 1;
        if let Some((most, code)) = state.refusals.register
            && state.counts.registrations > most
        {
            return Err(refused(CALL, code));
        }
        let (from, to) = (start as usize, start as usize + len_bytes);
        // Whole pages are locked, and none twice.
        let pages = |start: usize, end: usize| (start / 4096, end.div_ceil(4096));
        let (first, behind) = pages(from, to);
        let overlaps = state.registered.iter().any(|(&start, &len)| {
            let (other_first, other_behind) = pages(start, start + len);
            first < other_behind && other_first < behind
        });
        if overlaps {
            return Err(refused(CALL, code::ALREADY_REGISTERED));
        }
        state.registered.insert(from, len_bytes);
        Ok(())
    }

    fn unregister(&self, start: *const u8) {
        let call = self.lock().on_unregister.clone();
        if let Some(call) = call {
            call();
        }
        let mut state = self.lock();
        let len = state.registered.remove(&(start as usize));
        assert!(len.is_some(), "unregistered memory that is not registered");
        let in_use = state.streams.values().flatten().any(|op| match op {
            Op::Copy { from, .. } => (start as usize..start as usize + len.unwrap_or(0)).contains(from),
            _ => false,
        });
        assert!(
            !in_use || state.check("").is_err(),
            "unregistered memory that is being copied"
        );
        for offset in [0, len.unwrap_or(1) - 1] {
            // SAFETY: whoever registered the memory unmaps it only later; if it did not, better a fault here than nothing.
            unsafe { start.add(offset).read_volatile() };
        }
    }

    fn allocate(&self, len_bytes: usize) -> Result<DevicePtr> {
        const CALL: &str = "cuMemAlloc";
        let mut state = self.lock();
        state.check(CALL)?;
        state.counts.allocations_made += 1;
        if let Some((most, code)) = state.refusals.allocate
            && state.counts.allocations_made > most
        {
            return Err(refused(CALL, code));
        }
        let address = state.next_address;
        // Never the same address twice, and never two that touch.
        state.next_address += (len_bytes as u64).next_multiple_of(1 << 20) + (1 << 20);
        state.memory.insert(address, vec![0xAA; len_bytes]);
        Ok(address)
    }

    fn free(&self, memory: DevicePtr) {
        let was = self.lock().memory.remove(&memory);
        assert!(was.is_some(), "freed memory that is not allocated");
    }

    fn create_stream(&self) -> Result<RawStream> {
        let mut state = self.lock();
        state.check("cuStreamCreate")?;
        let handle = state.handle();
        state.streams.insert(handle, VecDeque::new());
        Ok(RawStream(handle))
    }

    fn destroy_stream(&self, stream: RawStream) {
        let mut state = self.lock();
        let ops = state.streams.remove(&stream.0);
        let is_lost = state.check("").is_err();
        assert!(
            ops.is_some_and(|ops| ops.is_empty() || is_lost),
            "destroyed a stream that is in use"
        );
    }

    fn synchronize(&self, stream: RawStream) -> Result<()> {
        self.until("cuStreamSynchronize", |state| {
            state.streams.get(&stream.0).is_none_or(VecDeque::is_empty)
        })
    }

    fn create_event(&self) -> Result<RawEvent> {
        let mut state = self.lock();
        state.check("cuEventCreate")?;
        let handle = state.handle();
        state.events.insert(handle, Occurrence::default());
        Ok(RawEvent(handle))
    }

    fn destroy_event(&self, event: RawEvent) {
        let mut state = self.lock();
        let event = state.events.get_mut(&event.0).filter(|event| !event.is_destroyed);
        assert!(event.is_some(), "destroyed an event that is not there");
        event.into_iter().for_each(|event| event.is_destroyed = true);
    }

    fn record(&self, event: RawEvent, stream: RawStream) -> Result<()> {
        let mut state = self.lock();
        state.check("cuEventRecord")?;
        let Some(occurrence) = state.events.get_mut(&event.0) else {
            return Err(refused("cuEventRecord", code::INVALID_VALUE));
        };
        occurrence.recorded += 1;
        let number = occurrence.recorded;
        let event = event.0;
        state.put("cuEventRecord", stream, Op::Record { event, number })
    }

    fn wait(&self, event: RawEvent) -> Result<()> {
        let recorded = self.lock().events.get(&event.0).map_or(0, |event| event.recorded);
        self.until("cuEventSynchronize", |state| {
            state
                .events
                .get(&event.0)
                .is_none_or(|event| event.occurred >= recorded)
        })
    }

    fn stream_wait(&self, stream: RawStream, event: RawEvent) -> Result<()> {
        let mut state = self.lock();
        let number = state.events.get(&event.0).map_or(0, |event| event.recorded);
        let event = event.0;
        state.put("cuStreamWaitEvent", stream, Op::Wait { event, number })
    }

    fn elapsed_ns(&self, from: RawEvent, to: RawEvent) -> Result<u64> {
        let state = self.lock();
        state.check("cuEventElapsedTime")?;
        let at = |event: RawEvent| state.events.get(&event.0).map_or(0, |event| event.at);
        Ok(at(to).saturating_sub(at(from)) as u64)
    }

    unsafe fn copy_to_device(
        &self,
        to: DevicePtr,
        from: *const u8,
        len_bytes: usize,
        stream: RawStream,
    ) -> Result<()> {
        const CALL: &str = "cuMemcpyHtoDAsync";
        let mut state = self.lock();
        state.check(CALL)?;
        state.counts.copies.push(len_bytes);
        if let Some((most, code)) = state.refusals.copy
            && state.counts.copies.len() > most
        {
            return Err(refused(CALL, code));
        }
        if state.bytes_mut(to, len_bytes).is_none() {
            return Err(refused(CALL, code::INVALID_VALUE));
        }
        let op = match state.is_registered(from as usize, len_bytes) {
            true => {
                state.counts.pinned_copies += 1;
                let from = from as usize;
                Op::Copy { to, from, len_bytes }
            }
            false => {
                // SAFETY: the caller promises that the source is readable now.
                let bytes = unsafe { std::slice::from_raw_parts(from, len_bytes) }.to_vec();
                Op::Staged { to, bytes }
            }
        };
        state.put(CALL, stream, op)
    }

    fn copy_to_host(&self, to: &mut [u8], from: DevicePtr, stream: RawStream) -> Result<()> {
        self.synchronize(stream)?;
        match self.lock().bytes_mut(from, to.len()) {
            Some(bytes) => to.copy_from_slice(bytes),
            None => return Err(refused("cuMemcpyDtoHAsync", code::INVALID_VALUE)),
        }
        Ok(())
    }
}
