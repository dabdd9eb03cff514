//! The three identifiers of a knowledge base.
//!
//! They are positions in sorted tables, so they are dense, start at 0, and mean nothing outside
//! the KB (and the KB digest) they came from. Being distinct types, a name id cannot be handed
//! over where a concept id is due.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The id as a position in a slice.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A concept: the rank of its code among all codes of the KB, ordered by bytes.
    ConceptId(u32)
}
id! {
    /// A name inside one semantic group: its rank by (group, bytes of the text). The names of a
    /// group are therefore one contiguous, ascending range of ids.
    NameId(u32)
}
id! {
    /// A semantic group: the rank of its name among all group names, ordered by bytes.
    GroupId(u16)
}
