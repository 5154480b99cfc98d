//! Messages over byte streams that behave badly.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::framed;
use crate::transport::framing::{FrameError, FrameReader, Packet, Patience, write_packet};

const PATIENCE: Patience = Patience::Whole(Duration::from_secs(5));

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_survive_any_cut_into_pieces(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..8),
        cuts in prop::collection::vec(1_usize..700, 1..20),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(framed).collect();
        block_on(async {
            let (mut to, from) = tokio::io::duplex(512);
            let writing = async {
                let mut rest = bytes.as_slice();
                for cut in cuts.iter().cycle() {
                    let (now, later) = rest.split_at((*cut).min(rest.len()));
                    to.write_all(now).await.unwrap();
                    rest = later;
                    if rest.is_empty() { break }
                }
                to.shutdown().await.unwrap();
            };
            let mut reader = FrameReader::new(from, 1 << 20, PATIENCE);
            let reading = async {
                let mut read = Vec::new();
                while let Some((message, _)) = reader.next::<Vec<u8>>().await.unwrap() {
                    read.push(message);
                }
                read
            };
            let ((), read) = tokio::join!(writing, reading);
            assert_eq!(read, messages);
        });
    }

    #[test]
    fn garbage_is_an_error_or_a_message_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        block_on(async {
            let mut reader = FrameReader::new(bytes.as_slice(), 128, PATIENCE);
            while let Ok(Some(_)) = reader.next::<crate::wire::ClientFrame>().await {}
        });
    }
}

#[test]
fn a_length_above_the_bound_is_refused_before_a_byte_is_allocated_for_it() {
    let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let error = block_on(async {
        FrameReader::new(bytes.as_slice(), 4096, PATIENCE).next::<u64>().await.unwrap_err()
    });
    assert!(matches!(error, FrameError::Oversized { length: u32::MAX, max: 4096 }), "{error}");
}

#[test]
fn an_announced_length_allocates_only_as_bytes_arrive() {
    block_on(async {
        let (mut to, from) = tokio::io::duplex(64);
        to.write_all(&(200_u32 << 20).to_be_bytes()).await.unwrap();
        let mut reader =
            FrameReader::new(from, 256 << 20, Patience::Whole(Duration::from_millis(50)));
        assert!(reader.next::<u64>().await.is_err());
        assert!(reader.capacity() <= 128 << 10, "{} bytes are held", reader.capacity());
    });
}

#[test]
fn a_message_that_is_begun_and_not_finished_is_given_up() {
    block_on(async {
        let (mut to, from) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(from, 4096, Patience::Whole(Duration::from_millis(30)));
        to.write_all(&[0, 0]).await.unwrap();
        let error = reader.next::<u64>().await.unwrap_err();
        assert!(matches!(error, FrameError::Slow(_)), "{error}");
    });
}

#[test]
fn trickling_does_not_buy_time() {
    block_on(async {
        let (mut to, from) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(from, 4096, Patience::Whole(Duration::from_millis(60)));
        let trickle = async {
            for byte in framed(&vec![0_u8; 100]) {
                if to.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = trickle => {}
            read = reader.next::<Vec<u8>>() => {
                assert!(matches!(read.unwrap_err(), FrameError::Slow(_)));
            }
        }
    });
}

#[test]
fn whoever_speaks_regularly_may_say_much() {
    block_on(async {
        let (mut to, from) = tokio::io::duplex(1024);
        let patience = Patience::Piece(Duration::from_millis(100));
        let mut reader = FrameReader::new(from, 4096, patience);
        let message = vec![7_u8; 40];
        let trickle = async {
            for piece in framed(&message).chunks(4) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                to.write_all(piece).await.unwrap();
            }
        };
        let ((), read) = tokio::join!(trickle, reader.next::<Vec<u8>>());
        assert_eq!(read.unwrap().unwrap().0, message);
        assert!(matches!(reader.next::<Vec<u8>>().await.unwrap_err(), FrameError::Slow(_)));
    });
}

#[test]
fn an_end_between_messages_is_no_error_and_one_within_is() {
    block_on(async {
        let whole = framed(&7_u64);
        let mut reader = FrameReader::new(whole.as_slice(), 64, PATIENCE);
        assert_eq!(reader.next::<u64>().await.unwrap().map(|(n, _)| n), Some(7));
        assert!(reader.next::<u64>().await.unwrap().is_none());
        let mut reader = FrameReader::new(&whole[..whole.len() - 1], 64, PATIENCE);
        assert!(matches!(reader.next::<u64>().await.unwrap_err(), FrameError::Truncated));
    });
}

#[test]
fn reading_is_cancel_safe() {
    block_on(async {
        let (mut to, from) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(from, 4096, PATIENCE);
        for byte in framed(&String::from("in many small pieces")) {
            to.write_all(&[byte]).await.unwrap();
            let cancelled = tokio::time::timeout(Duration::from_millis(1), reader.next::<String>());
            if let Ok(read) = cancelled.await {
                assert_eq!(read.unwrap().unwrap().0, "in many small pieces");
                return;
            }
        }
        panic!("the message did not arrive");
    });
}

#[test]
fn what_is_written_is_read_and_what_is_too_long_is_not_written() {
    block_on(async {
        let (mut to, from) = tokio::io::duplex(1 << 16);
        write_packet(&mut to, &Packet::new(&"hello", 64).unwrap()).await.unwrap();
        let mut reader = FrameReader::new(from, 64, PATIENCE);
        assert_eq!(reader.next::<String>().await.unwrap().unwrap().0, "hello");
        let error = Packet::new(&"x".repeat(100), 64).unwrap_err();
        assert!(matches!(error, FrameError::Oversized { max: 64, .. }), "{error}");
    });
}
