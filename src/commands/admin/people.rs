//! Operators, and people who have lost their password.

use super::{OperatorAction, account_services, read_input, with_vault};
use crate::{
    accounts::operators::WhichOperator,
    config::Config,
    domain::{ambient::Ambient, secret::Secret},
    store::Db,
    vault::KeyRing,
};

pub async fn operator(config: &Config, action: OperatorAction) -> anyhow::Result<()> {
    match action {
        OperatorAction::Create { email } => {
            with_vault(config, |db, ring| create_operator(db, ring, config, email)).await
        }
        OperatorAction::List => with_vault(config, |db, ring| list_operators(db, ring, config)).await,
        OperatorAction::Remove { email } => {
            with_vault(config, |db, ring| remove_operator(db, ring, config, email)).await
        }
    }
}

async fn list_operators(db: Db, ring: KeyRing, config: &Config) -> anyhow::Result<()> {
    for operator in account_services(db, ring, config).await?.list_operators().await? {
        println!("{}  {}", operator.id, operator.email);
    }
    Ok(())
}

async fn remove_operator(db: Db, ring: KeyRing, config: &Config, email: String) -> anyhow::Result<()> {
    let which = WhichOperator::Email(email);
    let id = account_services(db, ring, config).await?.remove_operator("cli".to_owned(), which).await?;
    println!("{id} was removed and its sessions have ended");
    Ok(())
}

async fn create_operator(db: Db, ring: KeyRing, config: &Config, email: String) -> anyhow::Result<()> {
    let accounts = account_services(db, ring, config).await?;
    let (password, made) = read_password()?;
    let id = accounts.create_operator(&email, &password).await?;
    println!("operator {id}");
    if made {
        println!("password {}", password.expose());
    }
    Ok(())
}

pub async fn reset_user(
    db: Db,
    ring: KeyRing,
    config: &Config,
    email: String,
    removes_second_factor: bool,
) -> anyhow::Result<()> {
    let accounts = account_services(db, ring, config).await?;
    let (password, made) = read_password()?;
    let id = accounts.reset_password(&email, &password, removes_second_factor).await?;
    println!("the password of {id} was reset and all its sessions have ended");
    if made {
        println!("password {}", password.expose());
    }
    Ok(())
}

/// The password on standard input, else a new one; and whether it is new.
fn read_password() -> anyhow::Result<(Secret, bool)> {
    let given = read_input()?;
    let made = given.is_none();
    let new = || {
        let random = crate::accounts::api_key::random_base62(&Ambient::system());
        Secret::new(random.chars().take(24).collect())
    };
    Ok((given.unwrap_or_else(new), made))
}
