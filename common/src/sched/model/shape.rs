//! Shapes: jobs that ask for the same are told apart only by whose they are and where they stand.

/// Jobs that ask for the same share a shape: what fits for one fits for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShapeId(pub(crate) u32);

/// A set of shapes that may hold more than were put into it, so that comparing two sets costs one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ShapeMask(u64);

impl ShapeId {
    /// Where the shape is in a [`ShapeMask`]; others may share the place.
    pub(crate) const fn place(self) -> usize {
        self.0 as usize % ShapeMask::PLACES
    }
}

impl ShapeMask {
    /// How many places there are.
    pub(crate) const PLACES: usize = 64;

    pub(crate) const fn add(&mut self, shape: ShapeId) {
        self.0 |= 1 << shape.place();
    }

    /// False only for one that was not put in.
    pub(crate) const fn may_hold(self, shape: ShapeId) -> bool {
        self.0 & (1 << shape.place()) != 0
    }

    /// False only where no shape is in both.
    pub(crate) const fn may_meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl<'a> FromIterator<&'a ShapeId> for ShapeMask {
    fn from_iter<I: IntoIterator<Item = &'a ShapeId>>(shapes: I) -> Self {
        let mut mask = Self::default();
        shapes.into_iter().for_each(|shape| mask.add(*shape));
        mask
    }
}
