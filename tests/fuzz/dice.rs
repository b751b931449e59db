//! Numbers that look random and follow from a seed.

/// The generator of all choices (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.roll() % end).expect("below a usize")
    }

    /// Whether one of so many rolls came true.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A length that is mostly small, and sometimes up to `max`.
    pub(crate) fn length(&mut self, max: usize) -> usize {
        match self.below(16) {
            0 => self.below(max + 1),
            1..4 => self.below(max.min(300) + 1),
            _ => self.below(max.min(8) + 1),
        }
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }

    /// One of the numbers at which readers go wrong.
    pub(crate) fn number(&mut self) -> String {
        match self.below(4) {
            0 => self.below(20).to_string(),
            1 => self.roll().to_string(),
            2 => self.below(200_000).to_string(),
            _ => self.pick(&EDGES).to_owned(),
        }
    }
}

const EDGES: [&str; 18] = [
    "0",
    "-1",
    "1",
    "99999",
    "100000",
    "100001",
    "255",
    "65535",
    "2147483647",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e9999",
    "1e-400",
    "0.001",
    "-0",
    "007",
];
