//! The trained model as a file of fixed layout, little-endian; `training/train.py` writes it. The reader checks every
//! length and every index, so that scoring needs no checks that could fail.

use super::{
    category::LEARNED,
    layout,
    ngrams::{EDGE_BUCKETS, START_BUCKETS, VOCABULARY_BUCKETS, WORD_BUCKETS},
    shape,
};
use std::sync::LazyLock;

/// Weights of one bucket: one for each learned category, then the one of difficulty.
pub const COLUMNS: usize = 8;
/// A shape or layout number is used by its bit length, at most this value less one.
pub const BITS: usize = 10;
const MAGIC: &[u8; 8] = b"KRCLASS2";
const KNOTS: usize = 101;

pub type Weights = [i8; COLUMNS];

/// The weights of one kind of feature.
pub struct Table {
    /// The value of one unit of a weight.
    pub scale: f32,
    pub rows: Vec<Weights>,
}

/// A split of a tree. `left` is for values up to `threshold`; a negative index `-n - 1` is leaf `n`.
pub struct Split {
    pub feature: u16,
    pub threshold: i32,
    pub left: i16,
    pub right: i16,
    /// Mean of the values below, for explanations.
    pub value: f32,
}

pub struct Tree {
    pub splits: Vec<Split>,
    pub leaves: Vec<f32>,
}

pub struct Model {
    pub version: u32,
    /// Divides the category scores; calibrates the confidence.
    pub temperature: f32,
    /// The value of one unit of the words' difficulty weights.
    pub ridge_scale: f32,
    pub bias: [f32; LEARNED],
    pub words: Table,
    pub vocabulary: Table,
    pub edges: Table,
    pub starts: Table,
    pub shape: Table,
    pub layout: Table,
    pub trees: Vec<Tree>,
    /// Raw difficulty at each percent of the training prompts, ascending.
    pub knots: Vec<f32>,
}

static BUILT_IN: LazyLock<Option<Model>> =
    LazyLock::new(|| Model::read(include_bytes!("../model/model.bin")));

/// The compiled-in model.
pub fn built_in() -> Option<&'static Model> {
    BUILT_IN.as_ref()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn f32(&mut self) -> Option<f32> {
        self.take().map(f32::from_le_bytes).filter(|value| value.is_finite())
    }

    fn table(&mut self, count: usize) -> Option<Table> {
        let scale = self.f32()?;
        let rows = (0..count)
            .map(|_| self.take::<COLUMNS>().map(|bytes| bytes.map(|byte| i8::from_le_bytes([byte]))))
            .collect::<Option<_>>()?;
        Some(Table { scale, rows })
    }

    fn tree(&mut self) -> Option<Tree> {
        let (splits, leaves) = (self.u16()?, self.u16()?);
        let split = |reader: &mut Self| {
            Some(Split {
                feature: reader.u16()?,
                threshold: reader.take().map(i32::from_le_bytes)?,
                left: reader.take().map(i16::from_le_bytes)?,
                right: reader.take().map(i16::from_le_bytes)?,
                value: reader.f32()?,
            })
        };
        let splits: Vec<Split> = (0..splits).map(|_| split(self)).collect::<Option<_>>()?;
        let leaves: Vec<f32> = (0..leaves).map(|_| self.f32()).collect::<Option<_>>()?;
        // Children come after their parents, so every walk ends.
        let sound = |(at, split): (usize, &Split)| {
            usize::from(split.feature) < shape::LEN
                && [split.left, split.right].into_iter().all(|child| match usize::try_from(child) {
                    Ok(child) => child > at && child < splits.len(),
                    Err(_) => usize::from(child.unsigned_abs()) <= leaves.len(),
                })
        };
        (!leaves.is_empty() && splits.iter().enumerate().all(sound)).then_some(Tree { splits, leaves })
    }
}

impl Model {
    /// Reads a model; `None` if this program did not write it.
    pub fn read(bytes: &[u8]) -> Option<Model> {
        let mut reader = Reader(bytes);
        if &reader.take::<8>()? != MAGIC {
            return None;
        }
        let version = reader.u32()?;
        let expected =
            [WORD_BUCKETS, VOCABULARY_BUCKETS, EDGE_BUCKETS, START_BUCKETS, shape::LEN, layout::LEN];
        for size in expected {
            if usize::try_from(reader.u32()?) != Ok(size) {
                return None;
            }
        }
        let (temperature, ridge_scale) = (reader.f32()?, reader.f32()?);
        let mut bias = [0.0; LEARNED];
        for place in &mut bias {
            *place = reader.f32()?;
        }
        let words = reader.table(WORD_BUCKETS)?;
        let vocabulary = reader.table(VOCABULARY_BUCKETS)?;
        let edges = reader.table(EDGE_BUCKETS)?;
        let starts = reader.table(START_BUCKETS)?;
        let shape = reader.table(shape::LEN * BITS)?;
        let layout = reader.table(layout::LEN * BITS)?;
        let trees = reader.u16()?;
        let trees: Vec<Tree> = (0..trees).map(|_| reader.tree()).collect::<Option<_>>()?;
        let knots: Vec<f32> = (0..KNOTS).map(|_| reader.f32()).collect::<Option<_>>()?;
        let is_whole = reader.0.is_empty() && temperature > 0.0 && knots.is_sorted();
        is_whole.then_some(Model {
            version,
            temperature,
            ridge_scale,
            bias,
            words,
            vocabulary,
            edges,
            starts,
            shape,
            layout,
            trees,
            knots,
        })
    }
}
