//! The block formats of GGUF tensors.
