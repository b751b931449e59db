//! Shapes of jobs and classes of nodes: what fits once fits for all of a kind.

/// Jobs with equal requests share a shape: they fit on the same nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShapeId(pub(crate) u32);

/// Nodes whose capacities differ only in the ids of their GPUs share a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct NodeClassId(pub(crate) u32);
