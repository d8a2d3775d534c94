//! Where labels go, so that none covers another one.

use super::style::text_width;

/// Left, top, right and bottom.
type Rectangle = [i32; 4];

/// Between a label and its point, at first.
const NEAR: i32 = 6;
/// By how much more it is tried after that, and how often.
const STEP: i32 = 8;
const STEPS: i32 = 24;
/// Around the middle of a point.
const POINT: i32 = 4;

/// The part of a plot in which labels are, and what is taken of it.
#[derive(Debug)]
pub(super) struct LabelPlaces {
    bounds: Rectangle,
    labels: Vec<Rectangle>,
    points: Vec<Rectangle>,
}

/// Where a label goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LabelPlace {
    /// The upper left corner.
    pub(super) at: (i32, i32),
    /// Whether it is so far from its point that a line should connect them.
    pub(super) is_far: bool,
}

impl LabelPlaces {
    /// Between these corners.
    pub(super) fn within(a: (i32, i32), b: (i32, i32)) -> Self {
        Self {
            bounds: [a.0.min(b.0), a.1.min(b.1), a.0.max(b.0), a.1.max(b.1)],
            labels: Vec::new(),
            points: Vec::new(),
        }
    }

    /// A point that labels should not cover.
    pub(super) fn keep_free(&mut self, (x, y): (i32, i32)) {
        self.points.push([x - POINT, y - POINT, x + POINT, y + POINT]);
    }

    /// A place for a label beside a point, as near as there is one that covers no other label, and no point if that can be.
    pub(super) fn beside(&mut self, (x, y): (i32, i32), label: &str, size: u32) -> LabelPlace {
        let (width, height) = (text_width(label, size), size as i32);
        let rectangle = |(left, top): (i32, i32)| [left, top, left + width, top + height];
        let mut best = None;
        'found: for points in [&self.points[..], &[]] {
            for step in 0..STEPS {
                let far = NEAR + step * STEP;
                let (right, left) = (x + far, x - far - width);
                let (above, below) = (y - far - height, y + far);
                // The corners first, then the middles of the sides, then all along them.
                let ends = [
                    (right, above + height / 2),
                    (right, below - height / 2),
                    (left, above + height / 2),
                    (left, below - height / 2),
                ];
                let middle = (x - width / 2, y - height / 2);
                let sides = (0..=2 * step + 2).flat_map(|k| {
                    let along = (if k % 2 == 0 { k } else { -k }) / 2 * STEP;
                    [
                        (middle.0 + along, above),
                        (middle.0 + along, below),
                        (right, middle.1 + along),
                        (left, middle.1 + along),
                    ]
                });
                let mut corners = ends.into_iter().chain(sides);
                let is_free = |&corner: &(i32, i32)| {
                    let label = rectangle(corner);
                    self.holds(label)
                        && !self
                            .labels
                            .iter()
                            .chain(points)
                            .any(|other| overlap(label, *other))
                };
                if let Some(at) = corners.find(is_free) {
                    best = Some(LabelPlace { at, is_far: step > 1 });
                    break 'found;
                }
            }
        }
        // Where the plot is full of labels, one more makes no difference.
        let place = best.unwrap_or(LabelPlace {
            at: (x + NEAR, y - NEAR - height),
            is_far: false,
        });
        self.labels.push(rectangle(place.at));
        place
    }

    fn holds(&self, [left, top, right, bottom]: Rectangle) -> bool {
        let [least_x, least_y, most_x, most_y] = self.bounds;
        left >= least_x && top >= least_y && right <= most_x && bottom <= most_y
    }
}

fn overlap(a: Rectangle, b: Rectangle) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_point_lie_around_it() {
        let mut places = LabelPlaces::within((0, 0), (400, 300));
        places.keep_free((200, 150));
        let found: Vec<LabelPlace> = (0..20).map(|_| places.beside((200, 150), "b1024", 15)).collect();
        for (k, one) in places.labels.iter().enumerate() {
            assert!(places.holds(*one) && !overlap(*one, places.points[0]), "{one:?}");
            assert!(
                !places.labels[..k].iter().any(|other| overlap(*one, *other)),
                "{one:?}"
            );
        }
        assert!(!found[0].is_far && found[19].is_far);
        // In a corner it is moved inwards.
        let corner = LabelPlaces::within((0, 0), (400, 300))
            .beside((399, 1), "b16", 15)
            .at;
        assert!(corner.0 < 399 && corner.1 >= 0, "{corner:?}");
    }
}
