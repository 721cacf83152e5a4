# Added to the role of a rotator: the login that sets passwords at the target TARGET (such as shop-db), and no other. It is
# in a mount of its own: in `secret`, the folder that it is in might be that of a namespace, whose pods could read it.
path "admin/data/TARGET" { capabilities = ["read"] }
