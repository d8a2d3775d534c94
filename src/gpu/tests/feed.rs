//! The order of a feed, and what it waits for.

use super::*;

#[test]
fn a_feed_hands_out_what_is_there_while_its_source_has_nothing() {
    type Blocks = Box<dyn Iterator<Item = Result<Block, ()>>>;
    let stand_in = StandIn::new(10);
    let (gpu, pool) = setup(&stand_in, 12);
    let (stream, source) = (gpu.stream().unwrap(), pool.clone());
    let blocks: Blocks = Box::new((0..9).map(move |k| Ok(Block::new(source.take(1).unwrap().remove(0), k))));
    // Four blocks would be a unit.
    let mut feed = Feed::new(&gpu, &stream, blocks, config(3).unit_bytes(4 * SLOT_BYTES)).unwrap();
    // Takes so many, while so many blocks and no more are there; and says how often its source might have waited.
    let mut take = |n: usize, mut there: usize| {
        let (mut taken, mut waits) = (Vec::new(), 0);
        while taken.len() < n {
            let polled = feed.poll(|blocks, may_wait| match there {
                0 => {
                    waits += usize::from(may_wait);
                    Poll::Pending
                }
                _ => {
                    there -= 1;
                    Poll::Ready(blocks.next())
                }
            });
            let Poll::Ready(Some(Ok(copied))) = polled else {
                break;
            };
            assert_eq!(
                copied.read_back(1, &stream).unwrap(),
                vec![*copied.host_part(); SLOT_BYTES]
            );
            taken.push(*copied.host_part());
        }
        (taken, waits, feed.n_handed_out(), feed.stats().stages)
    };
    assert_eq!(take(1, 0), (vec![], 1, 0, 0));
    assert_eq!(take(3, 2), (vec![0, 1], 1, 2, 1));
    // Two whole stages, and one block that waits for its like as long as there is something to hand out.
    assert_eq!(take(4, 7), (vec![2, 3, 4, 5], 0, 6, 2));
    assert_eq!(take(9, 9), (vec![6, 7, 8], 0, 9, 3));
    assert!(matches!(
        feed.poll(|blocks, _| Poll::Ready(blocks.next())),
        Poll::Ready(None)
    ));
    drop((feed, stream, gpu, pool));
    assert_clean(&stand_in);
}

#[test]
fn a_feed_keeps_the_order_shares_stages_and_tells_an_error_in_its_place() {
    let stand_in = StandIn::new(8);
    let (gpu, pool) = setup(&stand_in, 12);
    let source = pool.clone();
    let blocks = (0..30u8).map(move |k| match k {
        25 => Err("the disk is gone"),
        _ => Ok(Block::new(source.take(1).unwrap().remove(0), k)),
    });
    let config = config(3).unit_bytes(2 * SLOT_BYTES);
    let stream = gpu.stream().unwrap();
    let mut feed = Feed::new(&gpu, &stream, blocks, config).unwrap();
    for k in 0..25 {
        let copied = feed.next().unwrap().unwrap();
        assert_eq!(*copied.host_part(), k);
        assert_eq!(copied.read_back(1, &stream).unwrap(), vec![k; SLOT_BYTES]);
    }
    assert!(matches!(
        feed.next(),
        Some(Err(FeedError::Source("the disk is gone")))
    ));
    assert!(feed.next().is_none());
    // Two blocks a stage, with their tags a unit and more.
    assert_eq!(feed.stats().stages, 13);
    let copies = stand_in.counts().copies;
    assert!(
        copies[..copies.len() - 1]
            .iter()
            .all(|&len| len >= config.unit_bytes),
        "{copies:?}"
    );
    drop(feed);
    assert_eq!(pool.free(), 12);
}
