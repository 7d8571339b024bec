//! Trees laid out for scoring many rows: flat arrays, rows in blocks that stay in the cache, blocks over all cores.

use rayon::prelude::*;

use super::{Booster, logistic};

/// Rows a core takes at a time: 256 rows of 64 features are 128 KiB, which a second-level cache holds with a tree beside it.
const BLOCK: usize = 256;
/// Mark of a leaf.
const LEAF: u32 = u32::MAX;

/// A booster's trees, for scoring only.
#[derive(Debug, Clone)]
pub struct Forest {
    width: usize,
    base: f64,
    /// First node of each tree.
    roots: Vec<u32>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Which feature, or [`LEAF`].
    feature: u32,
    below: u32,
    above: u32,
    missing: u32,
    /// Where it splits; of a leaf, its weight.
    value: f64,
}

impl Booster {
    /// The trees for scoring many rows.
    pub fn forest(&self) -> Forest {
        let mut forest =
            Forest { width: self.names.len(), base: self.trees.base_score, roots: Vec::new(), nodes: Vec::new() };
        for tree in &self.trees.trees {
            let root = forest.nodes.len() as u32;
            forest.roots.push(root);
            forest.nodes.extend(tree.nodes.iter().map(|node| {
                if node.is_leaf {
                    return Node { feature: LEAF, below: 0, above: 0, missing: 0, value: f64::from(node.weight_value) };
                }
                Node {
                    feature: node.split_feature as u32,
                    below: root + node.left_child as u32,
                    above: root + node.right_child as u32,
                    missing: root + node.missing_node as u32,
                    value: node.split_value,
                }
            }));
        }
        forest
    }
}

impl Forest {
    /// Features a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The margin of each row, bit for bit that of [`Booster::margin`]; `rows` is row after row, NaN is missing.
    ///
    /// # Panics
    /// If `rows` is not a whole number of rows.
    pub fn margins(&self, rows: &[f64]) -> Vec<f64> {
        assert_eq!(rows.len() % self.width, 0, "a whole number of rows");
        let mut margins = vec![self.base; rows.len() / self.width];
        margins.par_chunks_mut(BLOCK).zip(rows.par_chunks(BLOCK * self.width)).for_each(|(margins, rows)| {
            for root in &self.roots {
                for (margin, row) in margins.iter_mut().zip(rows.chunks_exact(self.width)) {
                    *margin += self.leaf(*root, row);
                }
            }
        });
        margins
    }

    /// Probabilities of a 1, of trees grown with the logistic objective; not yet calibrated.
    pub fn probabilities(&self, rows: &[f64]) -> Vec<f64> {
        let mut margins = self.margins(rows);
        margins.iter_mut().for_each(|margin| *margin = logistic(*margin));
        margins
    }

    fn leaf(&self, root: u32, row: &[f64]) -> f64 {
        let mut node = &self.nodes[root as usize];
        while node.feature != LEAF {
            let value = row[node.feature as usize];
            let next = if value.is_nan() {
                node.missing
            } else if value < node.value {
                node.below
            } else {
                node.above
            };
            node = &self.nodes[next as usize];
        }
        node.value
    }
}
