//! What containers and build steps reach beyond their bridge, on the real engine.
//!
//! The rules and the network beyond are in the engine's own network namespace, which is this test's.

use std::process::{Child, Command, Stdio};

use dopq_common::job::Port;
use dopq_common::settings::Scalar as _;
use dopq_tests::filter::{Table, can_be_set, listen, tool};
use dopq_tests::wait_for;
use dopq_worker::docker::{BuildNetwork, PlanNetwork, Publish};
use dopq_worker::egress::{Allowed, Egress, Error, Rules, Wanted};

use crate::bench::{Bench, PATIENCE, joined};

/// What a server says.
const HERE: &str = "here";

/// A machine beyond this one, in a network namespace of its own, with a server on ports 53 and 80.
struct Beyond {
    interface: String,
    children: Vec<Child>,
    page: tempfile::TempDir,
    /// Of the Internet.
    public: String,
    /// Of the network of the machine.
    private: String,
    /// Where clouds tell what only the machine is to know.
    link_local: String,
    /// This machine's own address there.
    own: String,
}

impl Drop for Beyond {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        // It goes with the other's namespace, but not at once.
        drop(tool("ip", &["link", "delete", &self.interface]));
    }
}

impl Beyond {
    fn start() -> Result<Self, String> {
        // Addresses of which another run of this test has others.
        let run = std::process::id() % 60;
        let public = format!("198.51.100.{}", 4 * run + 2);
        let own = format!("198.51.100.{}", 4 * run + 1);
        let private = format!("10.213.{run}.1");
        let link_local = format!("169.254.213.{run}");
        let page = tempfile::tempdir().map_err(|error| error.to_string())?;
        std::fs::write(page.path().join("index.html"), HERE).map_err(|error| error.to_string())?;
        let waits = Command::new("unshare")
            .args(["--net", "sleep", "600"])
            .spawn()
            .map_err(|error| error.to_string())?;
        let id = waits.id().to_string();
        let interface = format!("dopq-t{}", std::process::id());
        let mut beyond = Self {
            interface: interface.clone(),
            children: vec![waits],
            public: public.clone(),
            private: private.clone(),
            link_local: link_local.clone(),
            own: own.clone(),
            page,
        };
        let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        wait_for("a network namespace", PATIENCE, || {
            let theirs = namespace(&id)?;
            (Some(theirs) != namespace("self")).then_some(())
        });
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", &id];
        tool("ip", &[&["link", "add", &interface][..], &pair].concat())?;
        let ours = format!("{own}/30");
        tool("ip", &["address", "add", &ours, "dev", &interface])?;
        tool("ip", &["link", "set", &interface, "up"])?;
        let there = format!("--net=/proc/{id}/ns/net");
        let inside = |arguments: &[&str]| {
            let all = [&[&*there, "ip"][..], arguments].concat();
            tool("nsenter", &all)
        };
        inside(&["address", "add", &format!("{public}/30"), "dev", "eth0"])?;
        inside(&["link", "set", "lo", "up"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["route", "add", "default", "via", &own])?;
        for address in [&private, &link_local] {
            inside(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
            tool("ip", &["route", "add", address, "via", &public])?;
        }
        for port in ["53", "80"] {
            let server = Command::new("nsenter")
                .args([&*there, "/bin/busybox", "httpd", "-f", "-p", port, "-h"])
                .arg(beyond.page.path())
                .stdout(Stdio::null())
                .spawn();
            beyond
                .children
                .push(server.map_err(|error| error.to_string())?);
        }
        Ok(beyond)
    }
}

/// Prints a line for each place: its name, and what is heard of it.
fn calls(places: &[(&str, String)]) -> String {
    let calls = places.iter().map(|(name, place)| {
        format!(
            "echo \"{name}: $(/bin/busybox timeout 4 /bin/busybox wget -q -O - http://{place}/ || echo nothing)\""
        )
    });
    calls.collect::<Vec<_>>().join("; ")
}

/// Those places of which something was heard.
fn heard(output: &str, places: &[(&str, String)]) -> Vec<String> {
    let mut heard = Vec::new();
    for (name, _) in places {
        let told = |word: &str| output.contains(&format!("{name}: {word}"));
        assert!(told(HERE) || told("nothing"), "{name}: {output}");
        if told(HERE) {
            heard.push((*name).to_owned());
        }
    }
    heard
}

fn wanted(bench: &Bench, jobs: Egress, allowed: &[&str]) -> Wanted {
    let allowed = allowed.iter().map(|text| Allowed::read(text));
    Wanted {
        name: bench.cluster.clone(),
        jobs,
        bridge: format!("dopq-{}", bench.cluster),
        builds: BuildNetwork::Default,
        allowed: allowed.collect::<Result<_, _>>().expect("sound"),
    }
}

#[tokio::test]
async fn with_the_internet_only_neither_the_machine_nor_its_network_is_reached() {
    if !can_be_set("egress") {
        return;
    }
    let bench = Bench::docker().await;
    let beyond = Beyond::start().unwrap_or_else(|error| panic!("{error}"));
    let jobs = format!("dopq-{}", bench.cluster);
    let made = bench.engine.ensure_network(&jobs, &bench.cluster).await;
    made.expect("there");
    let inspect = |format: &str, what: &str| {
        tool("docker", &["inspect", "-f", format, what]).unwrap_or_else(|error| panic!("{error}"))
    };
    let gateway = inspect("{{range .IPAM.Config}}{{.Gateway}}{{end}}", &jobs);
    let serve = "/bin/busybox mkdir /w; echo here > /w/index.html; echo ready; exec /bin/busybox httpd -f -p 80 -h /w";
    let mut other = bench.plan(1, serve);
    other.network = PlanNetwork::Bridge(jobs.clone());
    let other = bench.run(&other).await;
    bench.printed(&other, "ready").await;
    let neighbour = inspect(
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        &other,
    );
    let port = listen(HERE);
    let places = [
        ("public", beyond.public.clone()),
        ("private", beyond.private.clone()),
        ("resolver", format!("{}:53", beyond.private)),
        ("metadata", beyond.link_local.clone()),
        ("gateway", format!("{gateway}:{port}")),
        ("machine", format!("{}:{port}", beyond.own)),
        ("neighbour", neighbour),
    ];
    let reached = async |job: u64, network: PlanNetwork| {
        let mut plan = bench.plan(job, &calls(&places));
        plan.network = network;
        let id = bench.run(&plan).await;
        let pieces = bench.output(&id, true).await;
        let output = String::from_utf8_lossy(&joined(&pieces, None)).into_owned();
        heard(&output, &places)
    };
    let bridge = || PlanNetwork::Bridge(jobs.clone());
    let everything = [
        "public", "private", "resolver", "metadata", "gateway", "machine",
    ];
    let set = async |jobs, allowed: &[&str]| {
        let rules = Rules::set(bench.engine.clone(), wanted(&bench, jobs, allowed)).await;
        rules.unwrap_or_else(|error| panic!("{error:?}"))
    };
    let rules = set(Egress::Open, &[]).await;
    let table = Table(rules.table().to_owned());
    assert_eq!(reached(2, bridge()).await, everything);
    let resolver = format!("{}:53", beyond.private);
    // Set twice, as a worker does each minute; what it leaves for its running jobs is the same.
    set(Egress::Internet, &[&resolver]).await;
    let rules = set(Egress::Internet, &[&resolver]).await;
    assert_eq!(rules.jobs(), Egress::Internet);
    rules.close().await;
    assert!(table.stands());
    assert_eq!(reached(3, bridge()).await, ["public", "resolver"]);
    set(Egress::Internet, &[&format!("{}/24", beyond.private)]).await;
    assert_eq!(
        reached(4, bridge()).await,
        ["public", "private", "resolver"]
    );
    set(Egress::Internet, &[&format!("{gateway}:{port}")]).await;
    assert_eq!(reached(5, bridge()).await, ["public", "gateway"]);

    set(Egress::Open, &[]).await;
    assert!(!table.stands());
    assert_eq!(reached(6, bridge()).await, everything);
    assert_eq!(reached(7, PlanNetwork::None).await, Vec::<String>::new());

    let mut missing = wanted(&bench, Egress::Internet, &[]);
    missing.bridge = "no-such-network".to_owned();
    let refused = Rules::set(bench.engine.clone(), missing).await;
    assert!(matches!(refused, Err(Error::Engine { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_a_step_reaches_is_limited_while_the_worker_runs() {
    if !can_be_set("egress") {
        return;
    }
    let bench = Bench::docker().await;
    let port = listen(HERE);
    // The engine tells the address of its default bridge only if that is older than the engine.
    let told = tool("ip", &["-4", "-o", "address", "show", "dev", "docker0"]);
    let told = told.unwrap_or_else(|error| panic!("{error}"));
    let mut words = told.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.nth(1).and_then(|word| word.split('/').next());
    let gateway = address.expect("an address");
    let places = [("gateway", format!("{gateway}:{port}"))];
    let reached = async |run: u32| {
        let dockerfile = format!(
            "FROM {}\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"{} # {run}\"]\n",
            bench.base,
            calls(&places).replace('"', "\\\"")
        );
        let mut request = bench.request(&bench.zip(&[("Dockerfile", dockerfile.as_bytes())]));
        request.limits.network = BuildNetwork::Internet;
        let (built, output) = bench.build_and_listen(&request).await;
        built.unwrap_or_else(|error| panic!("{error:?}: {output}"));
        output
    };
    // The log shows the command as well, without what it hears.
    let output = reached(1).await;
    assert!(output.contains(" gateway: here"), "{output}");
    let mut builds = wanted(&bench, Egress::Open, &[]);
    builds.builds = BuildNetwork::Internet;
    let rules = Rules::set(bench.engine.clone(), builds).await;
    let rules = rules.unwrap_or_else(|error| panic!("{error:?}"));
    let table = Table(rules.table().to_owned());
    let output = reached(2).await;
    assert!(output.contains(" gateway: nothing"), "{output}");
    rules.close().await;
    assert!(!table.stands());
    let output = reached(3).await;
    assert!(output.contains(" gateway: here"), "{output}");
}

#[tokio::test]
async fn a_job_s_ports_are_reached_where_the_administrator_says() {
    let bench = Bench::docker().await;
    let serve = "/bin/busybox mkdir /w; echo here > /w/index.html; echo ready; exec /bin/busybox httpd -f -p 80 -h /w";
    let ports = serde_json::json!({"ports": {"80/tcp": null, "81/udp": 81}});
    let mut plan = bench.plan_with(1, serve, ports);
    assert_eq!(plan.publish, None, "off by default");
    plan.network = PlanNetwork::Bridge("bridge".to_owned());
    let port = |number, is_udp| Port { number, is_udp };
    plan.publish = Some(Publish {
        address: [127, 0, 0, 1].into(),
        ports: [port(80, false), port(81, true)].into(),
    });
    let id = bench.run(&plan).await;
    bench.printed(&id, "ready").await;
    let found = bench.engine.inspect(&id).await.expect("asked");
    let published = found.expect("there").published;
    let [(tcp, at), (udp, _)] = &published[..] else {
        panic!("{published:?}");
    };
    assert_eq!((&**tcp, &**udp), ("80/tcp", "81/udp"));
    assert!(at.starts_with("127.0.0.1:"), "{at}");
    let page = tool(
        "/bin/busybox",
        &["wget", "-q", "-O", "-", &format!("http://{at}/")],
    );
    assert_eq!(page.expect("reached"), HERE);
}
