"""The development mailbox: takes mails over SMTP and shows them as pages."""
