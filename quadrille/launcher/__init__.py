"""`quadrille up`: the broker, the five services and the mailbox as processes of one machine."""
