# What tests/vm/story.sh does with a real guest, as far as no guest is needed.
openstack flavor create tiny --ram 128 --disk 1 --vcpus 1
openstack network create private
openstack subnet create private --network private --subnet-range 192.168.77.0/24
openstack router create router --external-gateway public
openstack router add subnet router private
openstack security group create open
openstack security group rule create open --protocol tcp --dst-port 22
openstack security group rule create open --protocol icmp
openstack keypair create key -f value -c name --public-key key.pub
openstack keypair list
  ~ key
openstack compute service list --service nova-compute
  ~ up
  within 60
openstack volume create data --size 1
openstack volume show data
  ~ available
  within 60
openstack server create first --image cirros --flavor tiny --network private --security-group open --key-name key --wait
openstack server show first
  ~ ACTIVE
openstack server list
  ~ private=192.168.77
openstack floating ip create public
  ~ 172.24.4
openstack server add floating ip first $(openstack floating ip list -f value -c ID)
openstack server list
  ~ 172.24.4
openstack server add volume first data
openstack volume show data
  ~ in-use
  within 60
openstack server volume list first
  ~ /dev/vd
openstack console url show first
  ~ http.*token
openstack server stop first
openstack server show first
  ~ SHUTOFF
  within 60
openstack server start first
openstack server show first
  ~ ACTIVE
  within 60
openstack server reboot first --hard --wait
openstack server set first --property colour=blue
openstack server show first
  ~ blue
openstack server event list first
  ~ reboot
openstack server remove volume first data
openstack volume show data
  ~ available
  within 60
openstack server delete first --wait
openstack server list --all-projects
  ! first
openstack port list --device-owner compute:nova -f value
  ! .
openstack resource provider show $(openstack resource provider list -f value -c uuid) --allocations -f value -c allocations
  ~ ^{}$
openstack volume delete data
openstack floating ip delete $(openstack floating ip list -f value -c ID)
openstack router remove subnet router private
openstack router delete router
openstack network delete private
openstack security group delete open
openstack keypair delete key
openstack flavor delete tiny
openstack volume list
  ! data
  within 60
