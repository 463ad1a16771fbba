//! The trained model as a file of fixed layout, little-endian; `training/train.py` writes it. Reading checks every
//! length and every index, so that scoring needs no checks that could fail.

use super::{
    category::LEARNED,
    ngrams::{EDGE_BUCKETS, WORD_BUCKETS},
    shape,
};
use std::sync::LazyLock;

/// Weights of one bucket: one for each learned category, then the one of difficulty.
pub const COLUMNS: usize = 8;
/// A shape number is taken by its bit length, at most this much less one.
pub const BITS: usize = 10;
const MAGIC: &[u8; 8] = b"KRCLASS1";
const KNOTS: usize = 101;

pub type Weights = [i8; COLUMNS];

/// A split of a tree. `left` is for values up to `threshold`; a negative index `-n - 1` is leaf `n`.
pub struct Split {
    pub feature: u16,
    pub threshold: i32,
    pub left: i16,
    pub right: i16,
    /// Mean of what is below, for explanations.
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
    pub word_scale: f32,
    pub edge_scale: f32,
    pub shape_scale: f32,
    /// What a unit of the difficulty weights of words is worth.
    pub ridge_scale: f32,
    pub bias: [f32; LEARNED],
    pub words: Vec<Weights>,
    pub edges: Vec<Weights>,
    pub shape: Vec<Weights>,
    pub trees: Vec<Tree>,
    /// Raw difficulty at each percent of the training prompts, ascending.
    pub knots: Vec<f32>,
}

static BUILT_IN: LazyLock<Option<Model>> =
    LazyLock::new(|| Model::read(include_bytes!("../model/model.bin")));

/// The model that is compiled in.
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

    fn weights(&mut self, count: usize) -> Option<Vec<Weights>> {
        (0..count)
            .map(|_| self.take::<COLUMNS>().map(|bytes| bytes.map(|byte| i8::from_le_bytes([byte]))))
            .collect()
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
        // Children stand behind their parents, so that every walk ends.
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
    /// Reads a model; `None` if it is not one of this program's.
    pub fn read(bytes: &[u8]) -> Option<Model> {
        let mut reader = Reader(bytes);
        if &reader.take::<8>()? != MAGIC {
            return None;
        }
        let version = reader.u32()?;
        let sizes = [reader.u32()?, reader.u32()?, reader.u32()?];
        let expected = [WORD_BUCKETS, EDGE_BUCKETS, shape::LEN].map(|size| u32::try_from(size).unwrap_or(0));
        if sizes != expected {
            return None;
        }
        let (temperature, word_scale, edge_scale) = (reader.f32()?, reader.f32()?, reader.f32()?);
        let (shape_scale, ridge_scale) = (reader.f32()?, reader.f32()?);
        let mut bias = [0.0; LEARNED];
        for place in &mut bias {
            *place = reader.f32()?;
        }
        let words = reader.weights(WORD_BUCKETS)?;
        let edges = reader.weights(EDGE_BUCKETS)?;
        let shape = reader.weights(shape::LEN * BITS)?;
        let trees = reader.u16()?;
        let trees: Vec<Tree> = (0..trees).map(|_| reader.tree()).collect::<Option<_>>()?;
        let knots: Vec<f32> = (0..KNOTS).map(|_| reader.f32()).collect::<Option<_>>()?;
        let is_whole = reader.0.is_empty() && temperature > 0.0 && knots.is_sorted();
        is_whole.then_some(Model {
            version,
            temperature,
            word_scale,
            edge_scale,
            shape_scale,
            ridge_scale,
            bias,
            words,
            edges,
            shape,
            trees,
            knots,
        })
    }
}
