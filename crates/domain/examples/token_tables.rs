//! Writes the tables of OpenAI's encodings that `tokens::encoding` reads: the byte of each of the first 256 tokens,
//! then for each further token the two tokens that merge into it, in five bytes (two numbers of 18 bits, the left one
//! in the higher bits). The tokens are those of the `bpe-openai` crate. Run it only when an encoding is added: `cargo
//! run -p kairosroute-domain --release --example token_tables -- crates/domain/src/tokens`

use std::{collections::HashMap, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder to write to")?;
    for (name, tokenizer) in
        [("o200k_base", bpe_openai::o200k_base()), ("cl100k_base", bpe_openai::cl100k_base())]
    {
        let count = u32::try_from(tokenizer.bpe.num_tokens())?;
        let tokens: Vec<&[u8]> = (0..count).map(|token| tokenizer.bpe.token_bytes(token)).collect();
        std::fs::write(Path::new(&folder).join(format!("{name}.pairs")), table(&tokens)?)?;
        println!("{name}: {count} tokens");
    }
    Ok(())
}

fn table(tokens: &[&[u8]]) -> Result<Vec<u8>, Box<dyn Error>> {
    let numbers: HashMap<&[u8], u64> = tokens.iter().copied().zip(0..).collect();
    let mut file = Vec::new();
    for (token, number) in tokens.iter().zip(0u64..) {
        match (number < 256, *token) {
            (true, [byte]) => file.push(*byte),
            (false, _) => {
                let (left, right) = halves(token, number, &numbers)
                    .ok_or_else(|| format!("token {number} is no merge of two others"))?;
                file.extend_from_slice((left << 18 | right).to_le_bytes().get(..5).unwrap_or_default());
            }
            (true, _) => return Err(format!("token {number} is not one byte").into()),
        }
    }
    Ok(file)
}

/// The two tokens that merge into this one: the parts that remain after all earlier tokens are merged.
fn halves(token: &[u8], number: u64, numbers: &HashMap<&[u8], u64>) -> Option<(u64, u64)> {
    // Where each part begins, and the end of the last.
    let mut cuts: Vec<usize> = (0..=token.len()).collect();
    while cuts.len() > 3 {
        let pairs = cuts.windows(3).enumerate();
        let merged = pairs.filter_map(|(at, cut)| match cut {
            [start, _, end] => Some((*numbers.get(token.get(*start..*end)?)?, at + 1)),
            _ => None,
        });
        let (lowest, cut) = merged.min()?;
        if lowest >= number {
            return None;
        }
        cuts.remove(cut);
    }
    let [start, middle, end] = cuts.try_into().ok()?;
    Some((*numbers.get(token.get(start..middle)?)?, *numbers.get(token.get(middle..end)?)?))
}
