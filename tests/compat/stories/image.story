# A picture's life.
openstack image create moon --file picture.raw --disk-format raw --container-format bare --property os_distro=moon --tag round
  ~ active
openstack image show moon
  ~ 4096
openstack image list --tag round -f value -c Name
  ~ ^moon$
openstack image set moon --name luna --min-disk 1 --property hw_rng_model=virtio
openstack image show luna
  ~ hw_rng_model
openstack image unset luna --tag round --property os_distro
openstack image show luna
  ! os_distro
openstack image save luna --file back.raw
openstack image set luna --shared
openstack image add project luna demo
  ~ pending
openstack image member list luna
  ~ pending
openstack --os-cloud ferrostack-demo image set $(openstack image show luna -f value -c id) --accept
openstack image member list luna
  ~ accepted
openstack image remove project luna demo
openstack image set luna --protected
openstack image delete luna
  fails: 403|protected
openstack image set luna --unprotected
openstack image set luna --deactivate
openstack image show luna
  ~ deactivated
openstack image set luna --activate
openstack image create sun --import --file picture.raw --disk-format raw --container-format bare
openstack image show sun
  ~ active
  within 60
openstack image task list
  ~ success
  within 60
openstack image import info
  ~ glance-direct
openstack image stores list
  ~ file
openstack image metadef namespace create OS::Moon --description craters
  ~ craters
openstack image metadef namespace list
  ~ OS::Moon
openstack image metadef object create crater --namespace OS::Moon
  ~ crater
openstack image metadef property create OS::Moon --name depth --title depth --type integer --schema {}
  ~ depth
openstack image metadef resource type list
  ~ OS::Glance::Image
openstack image metadef namespace delete OS::Moon
openstack image delete luna sun
openstack image list -f value -c Name
  ! ^luna$
