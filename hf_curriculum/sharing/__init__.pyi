from .push import push_scored as push_scored
