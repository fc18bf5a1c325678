# Somebody's life: domain, group, roles, tokens, keys of many kinds.
openstack domain create acme --description people
  ~ people
openstack domain list
  ~ acme
openstack project create anvils --domain acme --tag heavy
  ~ heavy
openstack project create springs --domain acme --parent anvils
openstack project list --domain acme --tags heavy
  ~ anvils
  ! springs
openstack user create wile --domain acme --project anvils --project-domain acme --password acme-secret --email wile@example.org
  ~ wile@example.org
openstack group create coyotes --domain acme
openstack group add user coyotes wile --group-domain acme --user-domain acme
openstack group contains user coyotes wile --group-domain acme --user-domain acme
  ~ in group
openstack role create painter
openstack role create dyer
openstack implied role create painter --implied-role dyer
openstack implied role list
  ~ dyer
openstack role add painter --group coyotes --group-domain acme --project anvils --project-domain acme
openstack role assignment list --user wile --user-domain acme --project anvils --project-domain acme --effective --names
  ~ dyer
openstack --os-username wile --os-user-domain-name acme --os-password acme-secret --os-project-name anvils --os-project-domain-name acme token issue
  ~ project_id
openstack --os-username wile --os-user-domain-name acme --os-password wrong --os-project-name anvils --os-project-domain-name acme token issue
  fails: 401
openstack user set wile --domain acme --disable
openstack --os-username wile --os-user-domain-name acme --os-password acme-secret --os-project-name anvils --os-project-domain-name acme token issue
  fails: 401
openstack user set wile --domain acme --enable
openstack role remove painter --group coyotes --group-domain acme --project anvils --project-domain acme
openstack --os-username wile --os-user-domain-name acme --os-password acme-secret --os-project-name anvils --os-project-domain-name acme token issue
  fails: 401
openstack application credential create robot --secret robot-secret --role member
  ~ robot
openstack application credential list
  ~ robot
openstack application credential show robot
  ~ member
openstack application credential delete robot
openstack ec2 credentials create -f value -c access
openstack ec2 credentials list
  ~ Access
openstack credential create --type cert admin some-blob
  ~ some-blob
openstack credential list --type cert
  ~ some-blob
openstack trust create --project admin --role member admin admin
  ~ trustor_user_id
openstack trust list
openstack registered limit create --service glance --default-limit 10 image_count_total
  ~ image_count_total
openstack limit create --project admin --service glance --resource-limit 5 image_count_total
  ~ image_count_total
openstack limit list
  ~ image_count_total
openstack limit delete $(openstack limit list -f value -c ID)
openstack registered limit delete $(openstack registered limit list -f value -c ID)
openstack region create north --description cold
openstack region show north
  ~ cold
openstack region delete north
openstack catalog show identity
  ~ public
openstack project delete springs --domain acme
openstack project delete anvils --domain acme
openstack group delete coyotes --domain acme
openstack user delete wile --domain acme
openstack implied role delete painter --implied-role dyer
openstack role delete painter dyer
openstack domain set acme --disable
openstack domain delete acme
openstack domain list
  ! acme
