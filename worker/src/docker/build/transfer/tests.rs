//! Transfers as the engine sees them: over gRPC, without a network.

use std::io::Write as _;
use std::time::Duration;

use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use dopq_common::bundle::Limits;
use tonic::Code;

use super::super::solve::dockerfile_alone;
use super::*;

/// More than what is in flight at once.
const LARGE_BYTES: usize = 2 * PACKETS * PACKET_BYTES + 7;

/// A bundle's files, and the folder with its zip.
struct Bench {
    files: Arc<Files>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bundle.zip");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).expect("made"));
        let large: Vec<u8> = (0..LARGE_BYTES).map(|n| n.to_le_bytes()[0]).collect();
        let files: [(&str, &[u8]); 6] = [
            ("Dockerfile", b"FROM x"),
            ("container_config.json", b"{}"),
            ("a.log", b"left out"),
            ("data/empty", b""),
            ("data/large", &large),
            ("gr\u{f6}\u{df}e +1", b"text"),
        ];
        for (name, content) in files {
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            zip.start_file(name, options).expect("started");
            zip.write_all(content).expect("written");
        }
        zip.finish().expect("finished");
        let bundle = Bundle::open(&path, &Limits::default()).expect("a bundle");
        let files = Files {
            context: bundle.tree(),
            dockerfile: dockerfile_alone("FROM y".to_owned()),
            ignore: Ignore::parse("*.log\nDockerfile\n").expect("patterns"),
            bundle,
            failure: Mutex::new(None),
            sent_bytes: Mutex::new(0),
        };
        Self {
            files: Arc::new(files),
            _folder: folder,
        }
    }

    async fn call(&self, metadata: &[(&'static str, &str)]) -> Result<Call, Status> {
        let transfers = Transfers(Arc::clone(&self.files));
        let mut client = FileSyncClient::new(FileSyncServer::new(transfers));
        let (packets, stream) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(stream));
        for (name, value) in metadata {
            let value = value.parse().expect("a value");
            request.metadata_mut().append(*name, value);
        }
        let answers = client.diff_copy(request).await?.into_inner();
        Ok(Call { packets, answers })
    }

    /// Waits until no thread reads the bundle any more.
    async fn is_left_alone(&self) {
        let alone = async {
            while Arc::strong_count(&self.files) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, alone).await.expect("it ends");
    }
}

/// The engine's side of one call.
struct Call {
    packets: mpsc::Sender<Packet>,
    answers: Streaming<Packet>,
}

impl Call {
    async fn next(&mut self) -> Option<Packet> {
        self.answers.message().await.expect("no error")
    }

    /// The paths of all descriptions.
    async fn described(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        loop {
            let packet = self.next().await.expect("more");
            assert_eq!(packet.r#type(), PacketType::PacketStat);
            match packet.stat {
                Some(stat) => paths.push(stat.path),
                None => return paths,
            }
        }
    }

    async fn send(&self, kind: PacketType, id: u32) {
        let packet = Packet {
            r#type: kind.into(),
            id,
            ..Packet::default()
        };
        self.packets.send(packet).await.expect("sent");
    }

    /// Asks for a file; gives its content.
    async fn content(&mut self, id: u32) -> Vec<u8> {
        self.send(PacketType::PacketReq, id).await;
        let mut content = Vec::new();
        loop {
            let packet = self.next().await.expect("more");
            assert_eq!((packet.r#type(), packet.id), (PacketType::PacketData, id));
            if packet.data.is_empty() {
                return content;
            }
            content.extend(packet.data);
        }
    }
}

#[tokio::test]
async fn descriptions_come_first_then_the_files_that_are_asked_for() {
    let bench = Bench::new();
    let mut call = bench
        .call(&[("dir-name", "context")])
        .await
        .expect("served");
    let expected = [
        "container_config.json",
        "data",
        "data/empty",
        "data/large",
        "gr\u{f6}\u{df}e +1",
    ];
    assert_eq!(call.described().await, expected);
    let large = call.content(3).await;
    let is_right = |(n, byte): (usize, &u8)| *byte == n.to_le_bytes()[0];
    assert!(large.iter().enumerate().all(is_right));
    assert_eq!(large.len(), LARGE_BYTES);
    assert_eq!(call.content(2).await, b"");
    assert_eq!(call.content(4).await, b"text");
    assert_eq!(*bench.files.sent_bytes.lock(), LARGE_BYTES as u64 + 4);
    call.send(PacketType::PacketFin, 0).await;
    let end = call.next().await.expect("an answer");
    assert_eq!(end.r#type(), PacketType::PacketFin);
    assert_eq!(call.next().await, None);
    bench.is_left_alone().await;
    assert!(bench.files.failure.lock().is_none());
}

#[tokio::test]
async fn the_dockerfile_is_a_folder_of_its_own_and_no_other_is_served() {
    let bench = Bench::new();
    let mut call = bench
        .call(&[("dir-name", "dockerfile")])
        .await
        .expect("served");
    assert_eq!(call.described().await, ["Dockerfile"]);
    assert_eq!(call.content(0).await, b"FROM y");
    for metadata in [&[][..], &[("dir-name", "/etc")]] {
        let refused = bench.call(metadata).await.err().expect("refused");
        assert_eq!(refused.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn only_what_the_engine_needs_is_described() {
    let bench = Bench::new();
    let context = ("dir-name", "context");
    for (wishes, expected) in [
        (
            &[("followpaths", "data/empty")][..],
            &["data", "data/empty"][..],
        ),
        (
            &[("followpaths", "nothing"), ("include-patterns", "*.json")],
            &["container_config.json"],
        ),
        (
            &[
                ("followpaths-encoded", "1"),
                ("followpaths", "gr%C3%B6%C3%9Fe+%2B1"),
            ],
            &["gr\u{f6}\u{df}e +1"],
        ),
        (&[("followpaths", "a.log")], &[]),
    ] {
        let metadata = [&[context], wishes].concat();
        let mut call = bench.call(&metadata).await.expect("served");
        assert_eq!(call.described().await, expected, "{wishes:?}");
    }
}

#[tokio::test]
async fn what_was_not_offered_is_refused_and_fails_the_build() {
    // A folder, no file at all, and a file for the second time.
    for wrong in [1, 99, 4] {
        let bench = Bench::new();
        let mut call = bench
            .call(&[("dir-name", "context")])
            .await
            .expect("served");
        assert_eq!(call.described().await.len(), 5);
        assert_eq!(call.content(4).await, b"text");
        call.send(PacketType::PacketReq, wrong).await;
        let error = call.next().await.expect("an answer");
        assert_eq!(error.r#type(), PacketType::PacketErr);
        let told = String::from_utf8(error.data).expect("text");
        assert!(told.contains("it was not offered"), "{told}");
        let failure = bench.files.failure.lock().take();
        assert!(
            matches!(failure, Some(ContextError::Invalid(_))),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn an_engine_that_goes_away_ends_the_transfer() {
    let bench = Bench::new();
    let mut call = bench
        .call(&[("dir-name", "context")])
        .await
        .expect("served");
    assert_eq!(call.described().await.len(), 5);
    call.send(PacketType::PacketReq, 3).await;
    assert!(call.next().await.is_some(), "it has begun");
    drop(call);
    bench.is_left_alone().await;
    assert!(bench.files.failure.lock().is_none());
}
