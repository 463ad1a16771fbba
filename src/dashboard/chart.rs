//! Bar charts as SVG: bars are links with a name of their own, print, and need no script. A chart is drawn in a square
//! of 1000 units that the page stretches, so that it fits every width. All figures are whole numbers.

/// Units of the drawing in both directions.
const SIZE: i64 = 1_000;
/// Series with a colour of their own; the last one is for all others.
pub const SERIES_MAX: usize = 7;

/// A chart over steps of time, or over groups.
#[derive(Default)]
pub struct Chart {
    /// What it shows, for readers that do not see it.
    pub label: String,
    /// Names of the series; empty where there is one.
    pub legend: Vec<Legend>,
    pub bars: Vec<Bar>,
    /// Values of the axis: the top, the middle, zero.
    pub ticks: [String; 3],
    /// Names of the first, the middle and the last step.
    pub ends: [String; 3],
}

/// The name of one series with its colour.
pub struct Legend {
    pub name: String,
    pub class: &'static str,
}

/// One step.
pub struct Bar {
    pub x: i64,
    pub width: i64,
    pub title: String,
    pub link: String,
    pub parts: Vec<Part>,
}

/// What one series has in a step.
pub struct Part {
    pub y: i64,
    pub height: i64,
    pub class: &'static str,
}

/// What is drawn for one step: a value of each series.
pub struct Step {
    pub name: String,
    pub title: String,
    pub link: String,
    pub values: Vec<i64>,
}

/// The style of a series by its place.
pub fn class_of(series: usize) -> &'static str {
    ["s0", "s1", "s2", "s3", "s4", "s5", "other"].get(series).copied().unwrap_or("other")
}

/// Draws stacked bars. Values below zero are drawn as zero; their figures stand in the table beside the chart.
pub fn stacked(label: String, series: &[String], steps: Vec<Step>, show: impl Fn(i64) -> String) -> Chart {
    let sum = |step: &Step| step.values.iter().fold(0_i64, |sum, value| sum.saturating_add((*value).max(0)));
    let top = nice_top(steps.iter().map(sum).max().unwrap_or(0));
    let count = i64::try_from(steps.len()).unwrap_or(i64::MAX).max(1);
    let ends = ends(&steps);
    let bars = steps
        .into_iter()
        .zip(0_i64..)
        .map(|(step, index)| {
            let (from, to) = (index * SIZE / count, (index + 1) * SIZE / count);
            let gap = ((to - from) / 5).min(12);
            Bar {
                x: from + gap / 2,
                width: (to - from - gap).max(1),
                parts: parts(&step.values, top),
                title: step.title,
                link: step.link,
            }
        })
        .collect();
    let legend = match series {
        [] | [_] => Vec::new(),
        names => names
            .iter()
            .enumerate()
            .map(|(index, name)| Legend { name: name.clone(), class: class_of(index) })
            .collect(),
    };
    Chart { label, legend, bars, ticks: [show(top), show(top / 2), show(0)], ends }
}

fn parts(values: &[i64], top: i64) -> Vec<Part> {
    let mut base = SIZE;
    let mut parts = Vec::new();
    for (index, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let exact = i128::from(*value) * i128::from(SIZE) / i128::from(top.max(1));
        // What is there is seen.
        let height = i64::try_from(exact).unwrap_or(SIZE).clamp(6, SIZE).min(base);
        base -= height;
        parts.push(Part { y: base, height, class: class_of(index) });
    }
    parts
}

fn ends(steps: &[Step]) -> [String; 3] {
    let name = |index: usize| steps.get(index).map(|step| step.name.clone()).unwrap_or_default();
    match steps.len() {
        0 => Default::default(),
        1 | 2 => [name(0), String::new(), name(steps.len() - 1)],
        length => [name(0), name(length / 2), name(length - 1)],
    }
}

/// The least of 1, 2, 4 and 5 times a power of ten that is not below `most`.
fn nice_top(most: i64) -> i64 {
    let mut power = 1_i64;
    loop {
        for factor in [1, 2, 4, 5] {
            let Some(top) = power.checked_mul(factor) else { return i64::MAX };
            if top >= most.max(2) {
                return top;
            }
        }
        let Some(next) = power.checked_mul(10) else { return i64::MAX };
        power = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(values: &[i64]) -> Step {
        Step { name: "a".into(), title: "a".into(), link: String::new(), values: values.to_vec() }
    }

    #[test]
    fn the_axis_ends_at_a_round_number_that_no_bar_exceeds() {
        for (most, top) in
            [(0, 2), (1, 2), (3, 4), (5, 5), (6, 10), (11, 20), (399, 400), (i64::MAX, i64::MAX)]
        {
            assert_eq!(nice_top(most), top);
        }
    }

    #[test]
    fn the_parts_of_a_bar_lie_on_each_other_and_stay_inside() {
        let names = ["x".to_owned(), "y".to_owned()];
        let chart =
            stacked(String::new(), &names, vec![step(&[1, 3]), step(&[0, 0]), step(&[i64::MAX, 7])], |n| {
                n.to_string()
            });
        let [first, empty, huge] = chart.bars.as_slice() else { panic!() };
        assert!(empty.parts.is_empty());
        let [lower, upper] = first.parts.as_slice() else { panic!() };
        assert_eq!(lower.y + lower.height, SIZE);
        assert_eq!(upper.y + upper.height, lower.y);
        assert!(huge.parts.iter().all(|part| part.y >= 0 && part.height >= 0));
        assert_eq!(chart.legend.len(), 2);
        assert!(chart.bars.last().is_some_and(|bar| bar.x + bar.width <= SIZE));
    }

    #[test]
    fn a_chart_without_steps_is_empty() {
        let chart = stacked(String::new(), &[], Vec::new(), |n| n.to_string());
        assert!(chart.bars.is_empty() && chart.legend.is_empty());
    }
}
