use super::*;

fn id(n: u8) -> Id {
    Id::parse(&format!("3f2504e0-4f89-11d3-9a0c-0305e82c33{n:02x}")).unwrap()
}

fn firewall(rules: Vec<Rule>) -> Firewall {
    let mac = Mac::parse("fa:16:3e:00:00:01").unwrap();
    Firewall {
        bridges: vec![BridgeZone {
            name: IfName::parse("brq1").unwrap(),
            zone: Some(7),
        }],
        trusted: vec![IfName::parse("vxlan-7").unwrap()],
        closed: vec![IfName::parse("tap1").unwrap()],
        ports: vec![GuardedPort {
            number: 1,
            tap: IfName::parse("tap1").unwrap(),
            pairs: vec![
                (mac, "10.0.0.5/32".parse().unwrap()),
                (mac, "fd00::/64".parse().unwrap()),
            ],
            groups: vec![id(1)],
            enabled: true,
        }],
        groups: vec![Group {
            id: id(1),
            stateful: true,
            rules,
        }],
        sets: BTreeMap::from([(
            id(2),
            vec![
                "10.0.0.0/25".parse().unwrap(),
                "fd00::1/128".parse().unwrap(),
            ],
        )]),
    }
}

#[test]
fn rules_become_text() {
    let rule = |packets, remote| Rule {
        ingress: true,
        six: false,
        packets,
        remote,
    };
    let sets = firewall(vec![]).sets;
    let cases = [
        (
            rule(Packets::Any, Remote::Any),
            "meta nfproto ipv4 accept".to_string(),
        ),
        (
            rule(
                Packets::Ports(6, 22, 80),
                Remote::Prefix("10.0.0.9/24".parse().unwrap()),
            ),
            "meta nfproto ipv4 ip saddr 10.0.0.0/24 meta l4proto 6 th dport 22-80 accept".into(),
        ),
        (
            rule(Packets::Icmp(8, Some(0)), Remote::Any),
            "meta nfproto ipv4 icmp type 8 icmp code 0 accept".into(),
        ),
        (
            rule(Packets::Protocol(47), Remote::Set(id(2))),
            format!(
                "meta nfproto ipv4 ip saddr @m4-{} meta l4proto 47 accept",
                id(2)
            ),
        ),
        // Neither a foreign family nor a group nobody knows may widen into "any".
        (
            rule(Packets::Any, Remote::Prefix("::/0".parse().unwrap())),
            "meta nfproto 255 drop".into(),
        ),
        (
            rule(Packets::Any, Remote::Set(id(9))),
            "meta nfproto 255 drop".into(),
        ),
    ];
    for (rule, text) in cases {
        assert_eq!(allow(&rule, &sets), text);
    }
}

#[test]
fn every_port_ends_in_drop() {
    let text = transaction(&Tag::parse("t").unwrap(), &firewall(vec![]));
    for name in ["from-1", "in-1", "out-1"] {
        let start = text.find(&format!("chain {name} ")).unwrap();
        let body = &text[start..start + text[start..].find("  }\n").unwrap()];
        assert!(body.trim_end().ends_with("drop"), "{body}");
    }
    assert!(text.starts_with(
        "add table bridge ferrostack-t\ndelete table bridge ferrostack-t\ntable bridge"
    ));
}

#[test]
fn a_port_that_is_down_passes_nothing() {
    let mut f = firewall(vec![]);
    f.ports[0].enabled = false;
    let text = transaction(&Tag::parse("t").unwrap(), &f);
    let start = text.find("chain in-1 ").unwrap();
    assert!(!text[start..start + 60].contains("accept"));
}

/// The kernel's own opinion of the text, where there is a kernel to ask.
#[tokio::test]
async fn nft_takes_it() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to ask nft");
        return;
    }
    let rules = [false, true].into_iter().flat_map(|six| {
        let remotes = [
            Remote::Any,
            Remote::Set(id(2)),
            Remote::Set(id(9)),
            Remote::Prefix("10.0.0.0/8".parse().unwrap()),
        ];
        let packets = [
            Packets::Any,
            Packets::Protocol(132),
            Packets::Ports(17, 1, 65535),
            Packets::Icmp(8, None),
            Packets::Icmp(3, Some(4)),
        ];
        let each = move |r: Remote| {
            packets.map(|packets| Rule {
                ingress: !six,
                six,
                packets,
                remote: r.clone(),
            })
        };
        remotes.into_iter().flat_map(each).collect::<Vec<_>>()
    });
    let full = transaction(&Tag::parse("t").unwrap(), &firewall(rules.collect()));
    let empty = transaction(&Tag::parse("t").unwrap(), &Firewall::default());
    let nat = crate::nat::transaction(&crate::nat::Nat::default());
    for text in [full, empty, nat] {
        crate::run::program(host_privsep::Program::Nft, &["-c", "-f", "-"], &text)
            .await
            .unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
}
