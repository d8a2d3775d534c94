//! The compiled half of the Python package `cellring`: stores, loaders, epochs and minibatches as Python objects.
//!
//! It binds the public face of the library and nothing else; what users see is the Python half, in `python/cellring`. Every wait and
//! all reading and decoding goes on without the interpreter's lock; a panic of the library becomes an `InternalError`.

mod arguments;
mod arrays;
mod command;
mod device;
mod error;
mod form;
mod loader;
mod minibatch;
mod module;
mod process;
mod select;
mod setup;
mod store;
mod strategy;
mod table;
