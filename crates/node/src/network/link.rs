//! Network devices, by netlink.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{BRIDGE, DNS, NetworkError, POD_PREFIX, link, step};

/// Makes the cluster's devices in the namespace of `netlink`; the index of the bridge and of the device for services.
pub(crate) async fn make_cluster(netlink: &Handle) -> Result<(u32, u32), NetworkError> {
    let lo = index_of(netlink, "lo").await?;
    set_up(netlink, lo).await?;
    netlink.link().add(LinkBridge::new("pods0").build()).execute().await.map_err(link("make a bridge"))?;
    let bridge = index_of(netlink, "pods0").await?;
    // A fixed hardware address: else the bridge takes its members' and changes it as they come and go.
    let address = LinkUnspec::new_with_index(bridge).address(hardware_address(BRIDGE)).build();
    netlink.link().set(address).execute().await.map_err(link("name the bridge"))?;
    add_address(netlink, bridge, BRIDGE, POD_PREFIX).await?;
    set_up(netlink, bridge).await?;
    // Services' addresses are on the loopback device: not every kernel has dummy devices.
    add_address(netlink, lo, DNS, 32).await?;
    Ok((bridge, lo))
}

/// Makes a pod's namespace, on a thread of its own: loopback, `eth0` with its address, and the route out.
pub(crate) fn make_pod(ip: Ipv4Addr, cluster: &OwnedFd) -> Result<OwnedFd, NetworkError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| step("make a pod's namespace")(error.into()))?;
    let namespace =
        std::fs::File::open("/proc/thread-self/ns/net").map_err(step("open a pod's namespace"))?;
    // Container runtimes let every user of a pod listen on low ports. Older kernels cannot.
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(step("start a runtime"))?.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection().map_err(step("open a netlink socket"))?;
        tokio::spawn(connection);
        let lo = index_of(&netlink, "lo").await?;
        set_up(&netlink, lo).await?;
        let outer = outer_name(ip);
        let pair = LinkVeth::new("eth0", &outer).build();
        netlink.link().add(pair).execute().await.map_err(link("make a pod's device"))?;
        let there = index_of(&netlink, &outer).await?;
        let moved = LinkUnspec::new_with_index(there).setns_by_fd(cluster.as_raw_fd()).build();
        netlink.link().set(moved).execute().await.map_err(link("connect a pod's device"))?;
        let eth0 = index_of(&netlink, "eth0").await?;
        // From the address, so that neighbours that remember it stay right when it is used again.
        let named = LinkUnspec::new_with_index(eth0).address(hardware_address(ip)).build();
        netlink.link().set(named).execute().await.map_err(link("name a pod's device"))?;
        add_address(&netlink, eth0, ip, POD_PREFIX).await?;
        set_up(&netlink, eth0).await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(BRIDGE).build();
        netlink.route().add(route).execute().await.map_err(link("add a pod's route"))
    })?;
    Ok(namespace.into())
}

/// Connects the cluster's end of a pod's device to the bridge.
pub(crate) async fn join_bridge(netlink: &Handle, name: &str, bridge: u32) -> Result<(), NetworkError> {
    let index = index_of(netlink, name).await?;
    let joined = LinkUnspec::new_with_index(index).controller(bridge).up().build();
    netlink.link().set(joined).execute().await.map_err(link("connect a pod to the bridge"))
}

/// The name of the cluster's end of a pod's device: `pod` and the address in hexadecimal, 11 of 15 letters.
pub(crate) fn outer_name(ip: Ipv4Addr) -> String {
    format!("pod{:08x}", u32::from(ip))
}

pub(crate) async fn add_address(
    netlink: &Handle,
    index: u32,
    ip: Ipv4Addr,
    prefix: u8,
) -> Result<(), NetworkError> {
    netlink.address().add(index, IpAddr::V4(ip), prefix).execute().await.map_err(link("add an address"))
}

pub(crate) async fn remove_address(netlink: &Handle, index: u32, ip: Ipv4Addr) -> Result<(), NetworkError> {
    let found = netlink.address().get().set_link_index_filter(index).execute();
    let all: Vec<_> = found.try_collect().await.map_err(link("list addresses"))?;
    for message in all {
        let is_it = |one: &AddressAttribute| matches!(one, AddressAttribute::Local(IpAddr::V4(local)) if *local == ip);
        if message.attributes.iter().any(is_it) {
            return netlink.address().del(message).execute().await.map_err(link("remove an address"));
        }
    }
    Ok(())
}

fn hardware_address(ip: Ipv4Addr) -> Vec<u8> {
    [&[0x0a, 0x58][..], &ip.octets()].concat()
}

async fn index_of(netlink: &Handle, name: &str) -> Result<u32, NetworkError> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    let found = links.try_next().await.map_err(link("look for a device"))?;
    found
        .map(|link| link.header.index)
        .ok_or(NetworkError::Netlink { step: "look for a device", source: rtnetlink::Error::RequestFailed })
}

async fn set_up(netlink: &Handle, index: u32) -> Result<(), NetworkError> {
    let up = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(up).execute().await.map_err(link("switch a device on"))
}
