//! Links by e-mail, another address, and the second factor.

use super::{
    Body::{Json, None as NoBody},
    Content::{Empty, Json as Reply},
    Operation, change, read,
};

const SECOND_FACTOR: &str = "/api/auth/second-factor";

pub static OPERATIONS: &[Operation] = &[
    change(
        "POST",
        "/api/auth/password-reset",
        "requestPasswordReset",
        "account",
        "Sends a link for a new password, if an account has the address; the answer is the same for every address",
        Json("ResetRequest"),
        &[(202, Reply("MailSent"))],
    )
    .also(&[403]),
    change(
        "POST",
        "/api/auth/password-reset/confirm",
        "resetPassword",
        "account",
        "Sets a new password by the token of a link and ends every session",
        Json("ResetConfirmation"),
        &[(204, Empty)],
    ),
    change(
        "POST",
        "/api/auth/email",
        "changeEmail",
        "account",
        "Changes the person's address, once the link that is sent to the new one was opened",
        Json("EmailRequest"),
        &[(200, Reply("MailSent")), (202, Reply("MailSent"))],
    )
    .also(&[409]),
    change(
        "POST",
        "/api/auth/email/verification",
        "requestVerification",
        "account",
        "Sends a link that proves the person's address",
        NoBody,
        &[(202, Reply("MailSent"))],
    ),
    change(
        "POST",
        "/api/auth/email/confirm",
        "confirmEmail",
        "account",
        "Proves an address by the token of a link",
        Json("TokenConfirmation"),
        &[(204, Empty)],
    )
    .also(&[409]),
    read(
        SECOND_FACTOR,
        "getSecondFactor",
        "account",
        "Whether two-factor sign-in is on",
        &[],
        &[(200, Reply("SecondFactor"))],
    ),
    change(
        "POST",
        SECOND_FACTOR,
        "beginSecondFactor",
        "account",
        "Makes a secret for an authenticator app; a first code switches it on",
        Json("ProofRequest"),
        &[(201, Reply("Enrollment"))],
    )
    .also(&[409]),
    change(
        "DELETE",
        SECOND_FACTOR,
        "removeSecondFactor",
        "account",
        "Switches two-factor sign-in off",
        Json("ProofRequest"),
        &[(204, Empty)],
    )
    .also(&[409]),
    change(
        "POST",
        "/api/auth/second-factor/confirm",
        "confirmSecondFactor",
        "account",
        "Switches two-factor sign-in on with a first code, and ends the other sessions",
        Json("CodeRequest"),
        &[(200, Reply("RecoveryCodes"))],
    )
    .also(&[404, 409]),
    change(
        "POST",
        "/api/auth/second-factor/recovery-codes",
        "renewRecoveryCodes",
        "account",
        "Makes new recovery codes in place of the earlier ones",
        Json("ProofRequest"),
        &[(200, Reply("RecoveryCodes"))],
    )
    .also(&[409]),
];
