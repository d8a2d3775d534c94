//! Object headers of version 2 and the messages in them.

use std::collections::HashMap;
use std::io;
use std::slice::ChunksExact;

use super::error::Hdf5Error;
use super::heap::StringHeap;
use super::layout::{Layout, REFERENCE_BYTES, UNDEFINED};
use super::output::Output;
use super::seal::seal;
use crate::write::compress::Compression;
use crate::write::tree::{Attribute, Dataset, Datatype, Group, Node, Stored};

impl Datatype {
    /// The datatype message (IV.A.2.d).
    fn encode(self) -> Vec<u8> {
        let head = |class: u8, bits: [u8; 3]| {
            let mut message = vec![0x10 | class]; // version 1
            message.extend_from_slice(&bits);
            message.extend_from_slice(&(self.size_bytes() as u32).to_le_bytes());
            message
        };
        let size_bits = (self.size_bytes() * 8) as u16;
        match self {
            Self::Integer { signed, .. } => {
                let mut message = head(0, [u8::from(signed) << 3, 0, 0]);
                message.extend_from_slice(&0u16.to_le_bytes()); // bit offset
                message.extend_from_slice(&size_bits.to_le_bytes()); // precision
                message
            }
            Self::Float { size_bytes } => {
                let (exponent_bits, mantissa_bits) = match size_bytes {
                    2 => (5u8, 10u8),
                    4 => (8, 23),
                    _ => (11, 52),
                };
                // The mantissa's leading 1 is implied; the sign is the topmost bit.
                let mut message = head(1, [0x20, size_bits as u8 - 1, 0]);
                message.extend_from_slice(&0u16.to_le_bytes());
                message.extend_from_slice(&size_bits.to_le_bytes());
                message.extend_from_slice(&[mantissa_bits, exponent_bits, 0, mantissa_bits]);
                message.extend_from_slice(&((1u32 << (exponent_bits - 1)) - 1).to_le_bytes()); // exponent bias
                message
            }
            Self::Bool => {
                let mut message = head(8, [2, 0, 0]); // two members
                message.extend_from_slice(
                    &Self::Integer {
                        size_bytes: 1,
                        signed: true,
                    }
                    .encode(),
                );
                // Names are padded to multiples of 8 bytes.
                message.extend_from_slice(b"FALSE\0\0\0TRUE\0\0\0\0");
                message.extend_from_slice(&[0, 1]);
                message
            }
            Self::Text => {
                let mut message = head(9, [1, 1, 0]); // a string, not a sequence; UTF-8
                message.extend_from_slice(
                    &Self::Integer {
                        size_bytes: 1,
                        signed: false,
                    }
                    .encode(),
                );
                message
            }
        }
    }
}

impl Attribute {
    /// The strings that have to be in the heap before this attribute can be written.
    fn texts(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::Texts(texts) => texts,
            Self::Bool(_) | Self::Integers(_) | Self::NoFloats => &[],
        }
    }

    /// Datatype, length (none: scalar) and bytes, taking from `texts` one reference for each of [`Self::texts`].
    fn parts(&self, texts: &mut ChunksExact<'_, u8>) -> (Datatype, Option<u64>, Vec<u8>) {
        let references = texts.take(self.texts().len()).flatten().copied().collect();
        match self {
            Self::Text(_) => (Datatype::Text, None, references),
            Self::Texts(texts) => (Datatype::Text, Some(texts.len() as u64), references),
            Self::Bool(value) => (Datatype::Bool, None, vec![u8::from(*value)]),
            Self::Integers(values) => (
                Datatype::Integer {
                    size_bytes: 8,
                    signed: true,
                },
                Some(values.len() as u64),
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ),
            Self::NoFloats => (Datatype::Float { size_bytes: 8 }, Some(0), Vec::new()),
        }
    }
}

/// Writes the tree below and including this group, and returns this group's address.
pub(super) fn write(root: &Group, out: &mut Output) -> Result<u64, Hdf5Error> {
    // All the tree's attribute strings share a few collections of the heap.
    let (mut heap, mut references) = (StringHeap::default(), Vec::new());
    root.push_texts(&mut |text| heap.push(out, text, &mut references))?;
    heap.flush(out, &mut references)?;
    let mut headers = Headers {
        texts: references.chunks_exact(REFERENCE_BYTES),
        addresses: HashMap::new(),
        links: HashMap::new(),
    };
    root.count_links(&mut headers.links);
    root.write_headers(out, "", &mut headers)
}

/// What is known while headers are written.
struct Headers<'a> {
    /// References to the strings of attributes, in the order of the headers.
    texts: ChunksExact<'a, u8>,
    /// Where the header of each path is.
    addresses: HashMap<String, u64>,
    /// How many links besides the first lead to a path.
    links: HashMap<String, u32>,
}

impl Headers<'_> {
    /// Reference count (IV.A.2.v), where there is more than one link: else who removes one of them removes the object.
    fn count_links(&self, path: &str, header: &mut ObjectHeader) -> Result<(), Hdf5Error> {
        match self.links.get(path) {
            Some(more) => header.message(0x16, &[&[0], &(1 + more).to_le_bytes()[..]].concat(), path),
            None => Ok(()),
        }
    }
}

impl Group {
    fn count_links(&self, links: &mut HashMap<String, u32>) {
        for node in self.members.values() {
            match node {
                Node::Group(group) => group.count_links(links),
                Node::Same(other) => *links.entry(format!("/{other}")).or_default() += 1,
                Node::Dataset(_) => {}
            }
        }
    }

    /// Hands over every attribute string, in the order in which [`Self::write_headers`] needs their references.
    fn push_texts(&self, push: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        for node in self.members.values() {
            match node {
                Node::Group(group) => group.push_texts(push)?,
                Node::Dataset(dataset) => push_all(&dataset.attributes, push)?,
                Node::Same(_) => {}
            }
        }
        push_all(&self.attributes, push)
    }

    fn write_headers(
        &self,
        out: &mut Output,
        path: &str,
        headers: &mut Headers<'_>,
    ) -> Result<u64, Hdf5Error> {
        let mut header = ObjectHeader::default();
        // Link info (IV.A.2.c): links lie in this header, without creation order. Group info (IV.A.2.k): defaults.
        let mut link_info = vec![0, 0];
        link_info.extend_from_slice(&[UNDEFINED.to_le_bytes(), UNDEFINED.to_le_bytes()].concat());
        header.message(0x02, &link_info, "link info")?;
        header.message(0x0a, &[0, 0], "group info")?;
        for (name, node) in &self.members {
            let below = format!("{path}/{name}");
            let address = match node {
                Node::Group(group) => group.write_headers(out, &below, headers)?,
                Node::Dataset(dataset) => dataset.write_header(out, &below, headers)?,
                // A second link to the same object.
                Node::Same(other) => match headers.addresses.get(&format!("/{other}")) {
                    Some(address) => *address,
                    None => unreachable!("{other} comes before {below}"),
                },
            };
            headers.addresses.insert(below, address);
            // Link (IV.A.2.g): version 1; character set present, 4 bytes of name length; UTF-8; hard link.
            let mut link = vec![1, 0x12, 1];
            link.extend_from_slice(&(name.len() as u32).to_le_bytes());
            link.extend_from_slice(name.as_bytes());
            link.extend_from_slice(&address.to_le_bytes());
            header.message(0x06, &link, name)?;
        }
        headers.count_links(path, &mut header)?;
        header.attributes(&self.attributes, &mut headers.texts)?;
        header.write(out)
    }
}

/// Filter pipeline (IV.A.2.l), version 2: one filter, which may be skipped; its parameters are what h5py and hdf5plugin set.
fn filter_pipeline(compression: Compression, chunk_bytes: u32) -> Option<Vec<u8>> {
    /// Number of LZF's filter, and of its library, as h5py records them.
    const LZF_VERSIONS: [u32; 2] = [4, 0x0105];
    let (id, parameters): (u16, Vec<u32>) = match compression {
        Compression::None => return None,
        Compression::Gzip(level) => (1, vec![level.into()]),
        Compression::Lzf => (32_000, [&LZF_VERSIONS[..], &[chunk_bytes]].concat()),
        Compression::Zstd(level) => (32_015, vec![level.into()]),
    };
    let mut message = vec![2, 1];
    message.extend_from_slice(&id.to_le_bytes());
    if id >= 256 {
        message.extend_from_slice(&0u16.to_le_bytes()); // no name
    }
    message.extend_from_slice(&1u16.to_le_bytes()); // optional
    message.extend_from_slice(&(parameters.len() as u16).to_le_bytes());
    message.extend(parameters.into_iter().flat_map(u32::to_le_bytes));
    Some(message)
}

fn push_all(
    attributes: &[(&str, Attribute)],
    push: &mut impl FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    attributes
        .iter()
        .flat_map(|(_, value)| value.texts())
        .try_for_each(|text| push(text))
}

impl Dataset {
    fn write_header(
        &self,
        out: &mut Output,
        path: &str,
        headers: &mut Headers<'_>,
    ) -> Result<u64, Hdf5Error> {
        let mut header = ObjectHeader::default();
        let limit = if self.extendable { u64::MAX } else { self.len };
        let columns = self.columns.map(u64::from);
        let shape: Vec<u64> = std::iter::once(self.len).chain(columns).collect();
        let limits: Vec<u64> = std::iter::once(limit).chain(columns).collect();
        header.message(0x01, &dataspace(&shape, &limits), "dataspace")?;
        header.message(0x03, &self.datatype.encode(), "datatype")?;
        // Fill value (IV.A.2.f), version 3: none defined, written "if set", space allocated late or by chunk.
        // Data layout (IV.A.2.i), version 3: a chunk's last dimension is the size of an element.
        let Stored::Hdf5(layout) = &self.stored else {
            unreachable!("the data of a dataset are in the file that its header is in");
        };
        let (allocation, layout) = match layout {
            Layout::Contiguous { address, size_bytes } => (
                2u8,
                [&[3u8, 1][..], &address.to_le_bytes(), &size_bytes.to_le_bytes()].concat(),
            ),
            Layout::Chunked {
                index,
                chunk_len,
                chunk_bytes,
                compression,
            } => {
                if let Some(pipeline) = filter_pipeline(*compression, *chunk_bytes) {
                    header.message(0x0b, &pipeline, "filter pipeline")?;
                }
                let dimensions = 2 + u8::from(self.columns.is_some());
                let mut layout = [
                    &[3u8, 2, dimensions][..],
                    &index.to_le_bytes(),
                    &chunk_len.to_le_bytes(),
                ]
                .concat();
                layout.extend(self.columns.into_iter().flat_map(u32::to_le_bytes));
                layout.extend_from_slice(&(self.datatype.size_bytes() as u32).to_le_bytes());
                (3, layout)
            }
        };
        header.message(0x05, &[3, allocation | 2 << 2], "fill value")?;
        header.message(0x08, &layout, "data layout")?;
        headers.count_links(path, &mut header)?;
        header.attributes(&self.attributes, &mut headers.texts)?;
        header.write(out)
    }
}

/// Dataspace (IV.A.2.b), version 2: a scalar where the shape is empty; without limits where these are.
fn dataspace(shape: &[u64], limits: &[u64]) -> Vec<u8> {
    let mut message = vec![
        2,
        shape.len() as u8,
        u8::from(!limits.is_empty()),
        u8::from(!shape.is_empty()),
    ];
    for dimension in shape.iter().chain(limits) {
        message.extend_from_slice(&dimension.to_le_bytes());
    }
    message
}

/// The messages of an object header (IV.A.1.b), gathered into one block.
#[derive(Default)]
struct ObjectHeader {
    messages: Vec<u8>,
}

impl ObjectHeader {
    fn message(&mut self, kind: u8, body: &[u8], what: &str) -> Result<(), Hdf5Error> {
        let size = u16::try_from(body.len()).map_err(|_| Hdf5Error::MessageTooLarge {
            what: what.to_owned(),
            bytes: body.len(),
        })?;
        self.messages.push(kind);
        self.messages.extend_from_slice(&size.to_le_bytes());
        self.messages.push(0);
        self.messages.extend_from_slice(body);
        Ok(())
    }

    /// Attribute messages (IV.A.2.m), version 3, names in UTF-8.
    fn attributes(
        &mut self,
        attributes: &[(&str, Attribute)],
        texts: &mut ChunksExact<'_, u8>,
    ) -> Result<(), Hdf5Error> {
        for (name, value) in attributes {
            let (datatype, len, bytes) = value.parts(texts);
            let (datatype, space) = (datatype.encode(), dataspace(len.as_slice(), &[]));
            let mut body = vec![3, 0];
            for part_bytes in [name.len() + 1, datatype.len(), space.len()] {
                body.extend_from_slice(&(part_bytes as u16).to_le_bytes());
            }
            body.push(1);
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(&[datatype, space, bytes].concat());
            self.message(0x0c, &body, &format!("attribute {name:?}"))?;
        }
        Ok(())
    }

    fn write(self, out: &mut Output) -> Result<u64, Hdf5Error> {
        let mut bytes = Vec::with_capacity(self.messages.len() + 16);
        bytes.extend_from_slice(b"OHDR\x02\x02"); // version 2; the block's size takes 4 bytes
        bytes.extend_from_slice(&(self.messages.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.messages);
        seal(&mut bytes);
        Ok(out.append(&bytes)?)
    }
}
