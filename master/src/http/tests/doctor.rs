//! What the doctor learns, and who learns it.

use dopq_common::api::Doctor;

use super::world::World;

#[tokio::test]
async fn users_learn_of_machines_and_operators_also_of_services() {
    use crate::metrics::Part;
    let world = World::new().await;
    world.worker("gpu-1", 1).await;
    world
        .board()
        .set_faults(Part::Store, vec!["no append-only file".to_owned()]);
    let facts = async |who: &str| -> Doctor {
        let request = world.request("GET", "/v1/doctor").token(&world.token(who));
        request.send().await.json()
    };
    let users = facts("anna").await;
    let names: Vec<_> = users.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["gpu-1"]);
    assert_eq!((users.store_faults.len(), users.dead_letters), (0, None));
    let operators = facts("olga").await;
    assert_eq!(operators.store_faults, ["no append-only file"]);
    assert_eq!(operators.dead_letters, Some(Vec::new()));
}
